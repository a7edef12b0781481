"""The one shard format: stacked arrays of some videos in a safetensors file, and a status table.

A shard file holds arrays ``[videos, segments, ...]`` and, in its header, the videos' names in row
order, whatever says how the numbers were made, and a checksum of each array: that a disk or a copy
changed a byte is noticed when the array is read whole. Beside it lies a tab-separated status table
with a row for every video of the shard, kept or not.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.core.errors import PipelineError, Status
from pipeline.core.files import atomic_path, existing_file

# Of any number type; what is meant is said where it is used.
Array = NDArray[Any]

HEADER = "shard"
# What lies beside a folder's shards, and in the folder of pseudo-labels.
PROMPTS_FILE = "prompts.safetensors"
LABELS_FILE = "labels.safetensors"
# A trained parser: a safetensors file too, whose header has one entry of this name.
CHECKPOINT_FILE = "checkpoint.safetensors"
CHECKPOINT_HEADER = "checkpoint"

SHARD_NAME = re.compile(r"^(?P<index>\d+)-of-(?P<count>\d+)\.safetensors$")


@dataclass(frozen=True)
class Shard:
    """Some videos' arrays, all with the same first axis.

    Attributes
    ----------
    names
        N video names, unique, in row order.
    arrays
        Key to array ``[N, ...]``.
    meta
        How the numbers were made, as strings; equal for all shards of one folder.
    """

    names: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("a shard holds every video once")
        for key, array in self.arrays.items():
            if len(array) != len(self.names):
                raise ValueError(f"{key} has {len(array)} rows for {len(self.names)} videos")

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key not in self.arrays:
            raise PipelineError(f"no array '{key}' in this shard; it has {', '.join(self.arrays)}.")
        return self.arrays[key]

    def select(self, names: Sequence[str]) -> Self:
        """Return the rows of ``names``, in that order.

        Raises
        ------
        PipelineError
            A name is not in the shard.
        """
        rows_by_name = {name: row for row, name in enumerate(self.names)}
        absent = [name for name in names if name not in rows_by_name]
        if absent:
            raise PipelineError(
                f"{len(absent)} videos are not in this shard, the first '{absent[0]}'."
            )
        rows = np.array([rows_by_name[name] for name in names], dtype=np.int64)
        arrays = {key: array[rows] for key, array in self.arrays.items()}
        return type(self)(tuple(names), arrays, self.meta)


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard file, atomically."""
    # One header entry: safetensors writes several in random order, and equal shards would differ.
    arrays = {key: np.ascontiguousarray(array) for key, array in shard.arrays.items()}
    about = {"names": shard.names, "meta": dict(shard.meta)}
    checksums = {key: _checksum(about, key, array) for key, array in arrays.items()}
    header = {HEADER: json.dumps(about | {"checksums": checksums}, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata=header)


def _checksum(about: Mapping[str, Any], key: str, array: NDArray[Any]) -> str:
    """Return 16 hex digits of an array and of what the header says of its rows."""
    told = [about["names"], about["meta"], key, str(array.dtype), array.shape]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


class ShardReader:
    """An open shard file: names and meta at once, arrays a few rows at a time.

    Raises
    ------
    PipelineError
        The file is missing, cut short, or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path, "a shard")
        try:
            self._file = safe_open(str(path), framework="numpy")
            header = json.loads((self._file.metadata() or {})[HEADER])
            self.names: tuple[str, ...] = tuple(header["names"])
            self.meta: dict[str, str] = dict(header["meta"])
            # None in a file that was written before there were checksums.
            told = header.get("checksums")
            self._checksums: dict[str, str] | None = None if told is None else dict(told)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self._broken(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._file

    def _broken(self, why: object) -> PipelineError:
        return PipelineError(
            f"'{self.path}' is not a whole shard file ({why}); delete it and run again."
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return tuple(self._file.keys())

    def rows(self, key: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start:stop`` of one array; only these are read."""
        if not self.names:  # safetensors refuses to slice an array without rows
            empty: NDArray[Any] = self._file.get_tensor(key)
            return empty
        rows: NDArray[Any] = self._file.get_slice(key)[start:stop]
        return rows

    def array(self, key: str) -> NDArray[Any]:
        """Return one whole array.

        Raises
        ------
        PipelineError
            The file has no such array, or it is not as it was written.
        """
        if key not in self.keys:
            raise PipelineError(
                f"'{self.path}' has no array '{key}'; it has {', '.join(self.keys)}."
            )
        array: NDArray[Any] = self._file.get_tensor(key)
        about = {"names": self.names, "meta": self.meta}
        if self._checksums is not None and self._checksums.get(key) != _checksum(about, key, array):
            raise PipelineError(
                f"'{self.path}' has changed since it was written (checksum of '{key}'); delete it"
                " and run again."
            )
        return array

    def read(self) -> Shard:
        """Return the whole shard; see ``shard``."""
        return self.shard(self.keys)

    def shard(self, keys: Iterable[str]) -> Shard:
        """Return a shard of some arrays; each is checked as in ``array``.

        Raises
        ------
        PipelineError
            An array is not as it was written, or is not of the videos that the header names.
        """
        arrays = {key: self.array(key) for key in keys}
        try:
            return Shard(self.names, arrays, self.meta)
        except ValueError as error:
            raise self._broken(error) from None


def read_shard(path: Path) -> Shard:
    """Read one whole shard file."""
    with ShardReader(path) as reader:
        return reader.read()


def shard_paths(folder: Path) -> list[Path]:
    """Return the shard files ``K-of-N.safetensors`` of a folder in order, all N of them.

    Raises
    ------
    PipelineError
        There are none, some are missing, or two shardings are mixed.
    """
    found = {
        (int(match["count"]), int(match["index"])): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := SHARD_NAME.match(path.name))
    }
    if not found:
        raise PipelineError(f"'{folder}' has no shard files K-of-N.safetensors; check the path.")
    counts = {count for count, _ in found}
    if len(counts) > 1:
        raise PipelineError(
            f"'{folder}' mixes shards of {sorted(counts)} parts; move an earlier run's away."
        )
    count = counts.pop()
    if len(found) != count:
        raise PipelineError(
            f"'{folder}' has {len(found)} of {count} shards; run the missing ones first."
        )
    return [path for _, path in sorted(found.items())]


def read_array(folder: Path, key: str) -> Shard:
    """Join one array of a folder's shards, as float32; CLAP's hold two, of which one is needed.

    Raises
    ------
    PipelineError
        A shard is missing, or has no such array.
    """
    shards = []
    for path in shard_paths(folder):
        with ShardReader(path) as reader:
            stored = reader.shard([key])
            rows = stored[key].astype(np.float32, copy=False)
            shards.append(replace(stored, arrays={key: rows}))
    return join_shards(shards)


def join_shards(shards: Sequence[Shard]) -> Shard:
    """Join the shards of one folder, videos sorted by name.

    Raises
    ------
    PipelineError
        Their meta differ, so their numbers were not made alike.
    """
    metas = {json.dumps(dict(shard.meta), sort_keys=True) for shard in shards}
    if len(metas) != 1:
        raise PipelineError(
            f"{len(shards)} shards were made in {len(metas)} different ways; rerun them."
        )
    filled = [shard for shard in shards if shard.names] or shards[:1]
    names = [name for shard in filled for name in shard.names]
    keys = filled[0].arrays.keys()
    arrays = {key: np.concatenate([shard[key] for shard in filled]) for key in keys}
    return Shard(tuple(names), arrays, shards[0].meta).select(sorted(names))


@dataclass(frozen=True)
class StatusRow:
    """What became of one video in one stage.

    Attributes
    ----------
    filename
        The video's whole name.
    kept
        Whether the shard file has its arrays.
    status
        ``ok``, or the code of what was wrong (also of a kept video that had to be padded).
    detail
        One sentence for people; empty when all is well.
    backend
        Which library served the frames; empty where that says nothing.
    video_seconds, audio_seconds
        How much of the window the streams cover; 0 where there is none.
    """

    filename: str
    kept: bool
    status: Status
    detail: str = ""
    backend: str = ""
    video_seconds: float = 0.0
    audio_seconds: float = 0.0


STATUS_COLUMNS = [column.name for column in fields(StatusRow)]
KEPT = {"yes": True, "no": False}


def write_status(path: Path, rows: Iterable[StatusRow]) -> None:
    """Write a status table (tab-separated, sorted by filename), atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, STATUS_COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in sorted(rows, key=lambda row: row.filename):
            values = asdict(row) | {"kept": "yes" if row.kept else "no"}
            values |= {key: round(values[key], 3) for key in ("video_seconds", "audio_seconds")}
            writer.writerow(values | {"detail": " ".join(row.detail.split())})


def read_status(path: Path) -> list[StatusRow]:
    """Read a status table.

    Raises
    ------
    PipelineError
        There is none, or it is cut or was not written by ``write_status``.
    """
    text = existing_file(path, "a status table").read_bytes().decode("utf-8", "replace")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    try:
        if next(lines, None) != STATUS_COLUMNS:
            raise ValueError(f"the columns are not {', '.join(STATUS_COLUMNS)}")
        rows = [_status_row(values) for values in lines]
        if not text.endswith("\n"):
            raise ValueError("it has no end")
    except (csv.Error, ValueError) as error:
        raise PipelineError(
            f"'{path}', line {lines.line_num}, is not as a status table is written ({error});"
            " delete it and its shard, and run again."
        ) from None
    return rows


def _status_row(values: Sequence[str]) -> StatusRow:
    """Return the row that was written as ``values``.

    Raises
    ------
    ValueError
        There are more of them or fewer, or one is such as is never written there.
    """
    if len(values) != len(STATUS_COLUMNS):
        raise ValueError(f"{len(values)} of {len(STATUS_COLUMNS)} columns")
    filename, kept, status, detail, backend, *seconds = values
    if kept not in KEPT:
        raise ValueError(f"kept is '{kept}', not {' or '.join(KEPT)}")
    video_seconds, audio_seconds = map(float, seconds)
    return StatusRow(
        filename, KEPT[kept], Status(status), detail, backend, video_seconds, audio_seconds
    )
