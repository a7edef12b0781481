"""The shard format: a safetensors file with the arrays of several videos, and a status table.

A shard file holds arrays ``[videos, segments, ...]``. Its header lists the video names in row
order, how the values were computed, and a checksum of each array, so that corruption is detected
when a whole array is read. The tab-separated status table beside it has one row for every video of
the shard, kept or not.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pipeline.core.arrays import number_problem
from pipeline.core.errors import PipelineError, Status
from pipeline.core.files import atomic_path, existing_file
from pipeline.core.wording import counted

# An array of any dtype.
Array = NDArray[Any]

HEADER = "shard"
# Files in a feature folder and in the folder of pseudo-labels.
PROMPTS_FILE = "prompts.safetensors"
LABELS_FILE = "labels.safetensors"
# UWAV's trained temporal label network, also a safetensors file.
TEACHER_FILE = "teacher.safetensors"
# A trained parser, also a safetensors file; its header has one entry with this name.
CHECKPOINT_FILE = "checkpoint.safetensors"
CHECKPOINT_HEADER = "checkpoint"

SHARD_NAME = re.compile(r"^(?P<index>\d+)-of-(?P<count>\d+)\.safetensors$")


@dataclass(frozen=True)
class Shard:
    """The arrays of several videos; all have the same first axis.

    Attributes
    ----------
    names
        N unique video names, in row order.
    arrays
        Key to array ``[N, ...]``.
    meta
        How the values were computed, as strings; equal for all shards of a folder.
    """

    names: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("shard names must be unique")
        for key, array in self.arrays.items():
            if len(array) != len(self.names):
                raise ValueError(f"{key} has length {len(array)}, but names {len(self.names)}")

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key not in self.arrays:
            raise PipelineError(
                f"the shard has no array '{key}', only {', '.join(self.arrays)}; check the path."
            )
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
                f"the shard lacks {counted(len(absent), 'video')}, the first is '{absent[0]}'."
            )
        rows = np.array([rows_by_name[name] for name in names], dtype=np.int64)
        arrays = {key: array[rows] for key, array in self.arrays.items()}
        return type(self)(tuple(names), arrays, self.meta)


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard file, atomically."""
    # One header entry: safetensors writes several in random order, so equal shards would differ.
    arrays = {key: np.ascontiguousarray(array) for key, array in shard.arrays.items()}
    about = {"names": shard.names, "meta": dict(shard.meta)}
    checksums = {key: _checksum(about, key, array) for key, array in arrays.items()}
    header = {HEADER: json.dumps(about | {"checksums": checksums}, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata=header)


def _checksum(about: Mapping[str, Any], key: str, array: NDArray[Any]) -> str:
    """Return a 16-digit hex digest of an array and of the header fields that describe it."""
    described = [about["names"], about["meta"], key, str(array.dtype), array.shape]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


class ShardReader:
    """An open shard file: names and meta are read at once, arrays on demand.

    Raises
    ------
    PipelineError
        The file is missing, truncated or not a shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = existing_file(path, "a shard")
        try:
            self._file = safe_open(str(path), framework="numpy")
            header = json.loads((self._file.metadata() or {})[HEADER])
            self.names: tuple[str, ...] = tuple(header["names"])
            self.meta: dict[str, str] = dict(header["meta"])
            # Missing in files written before checksums were introduced.
            recorded = header.get("checksums")
            self._checksums: dict[str, str] | None = None if recorded is None else dict(recorded)
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
            f"'{self.path}' is corrupt or truncated ({why}); delete it and run again."
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return tuple(self._file.keys())

    def rows(self, key: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start:stop`` of one array without reading the others.

        Raises
        ------
        PipelineError
            The file has no such array.
        """
        self._check_key(key)
        if not self.names:  # safetensors cannot slice an array without rows
            empty: NDArray[Any] = self._file.get_tensor(key)
            return empty
        rows: NDArray[Any] = self._file.get_slice(key)[start:stop]
        return rows

    def array(self, key: str) -> NDArray[Any]:
        """Return one whole array.

        Raises
        ------
        PipelineError
            The file has no such array, or its checksum does not match.
        """
        self._check_key(key)
        array: NDArray[Any] = self._file.get_tensor(key)
        about = {"names": self.names, "meta": self.meta}
        if self._checksums is not None and self._checksums.get(key) != _checksum(about, key, array):
            raise PipelineError(
                f"'{self.path}' has changed since it was written (checksum of '{key}' differs);"
                " delete it and run again."
            )
        return array

    def _check_key(self, key: str) -> None:
        if key not in self.keys:
            raise PipelineError(
                f"'{self.path}' has no array '{key}'; it has {', '.join(self.keys)}."
            )

    def read(self) -> Shard:
        """Return the whole shard; see ``shard``."""
        return self.shard(self.keys)

    def shard(self, keys: Iterable[str]) -> Shard:
        """Return a shard with some of the arrays, each checked as in ``array``.

        Raises
        ------
        PipelineError
            A checksum does not match, or an array has the wrong number of rows.
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
    """Return all shard files ``K-of-N.safetensors`` of a folder, in order.

    Raises
    ------
    PipelineError
        There are none, some are missing or too many, or files of different N are mixed.
    """
    found = {
        (int(match["count"]), int(match["index"])): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := SHARD_NAME.match(path.name))
    }
    if not found:
        raise PipelineError(f"'{folder}' has no shard files (K-of-N.safetensors); check the path.")
    counts = {count for count, _ in found}
    if len(counts) > 1:
        raise PipelineError(
            f"'{folder}' mixes shards of {sorted(counts)} parts; remove those of the earlier run."
        )
    count = counts.pop()
    if missing := sorted({(count, index) for index in range(1, count + 1)} - found.keys()):
        raise PipelineError(
            f"'{folder}' lacks {len(missing)} of its {count} shards, the first is"
            f" {missing[0][1]}-of-{count}; make the missing ones first."
        )
    if stray := sorted(found.keys() - {(count, index) for index in range(1, count + 1)}):
        raise PipelineError(f"'{found[stray[0]]}' is not one of {count} shards; remove it.")
    return [path for _, path in sorted(found.items())]


def read_array(folder: Path, key: str) -> Shard:
    """Read and join one array of all shards of a folder, as float32.

    Raises
    ------
    PipelineError
        A shard is missing or has no such array.
    """
    return join_shards(read_features_of(path, [key]) for path in shard_paths(folder))


def read_features_of(path: Path, keys: Sequence[str] | None = None) -> Shard:
    """Read some arrays (default: all) of one shard of features, as float32.

    Raises
    ------
    PipelineError
        The file is corrupt, has no such array, or has values that are not finite.
    """
    with ShardReader(path) as reader:
        stored = reader.read() if keys is None else reader.shard(keys)
    for key, array in stored.arrays.items():
        if problem := number_problem(array):
            raise PipelineError(f"'{path}' {problem} in '{key}'; make that shard again.")
    rows = {key: array.astype(np.float32, copy=False) for key, array in stored.arrays.items()}
    return replace(stored, arrays=rows)


def join_shards(parts: Iterable[Shard]) -> Shard:
    """Join the shards of one folder, videos sorted by name.

    Raises
    ------
    PipelineError
        Their meta or the shapes of their arrays differ: they were made with different settings; or
        a video is in two of them.
    """
    shards = list(parts)
    metas = {json.dumps(dict(shard.meta), sort_keys=True) for shard in shards}
    if len(metas) != 1:
        raise PipelineError(
            f"{len(shards)} shards were made with {len(metas)} different settings; rerun them."
        )
    filled = [shard for shard in shards if shard.names] or shards[:1]
    names = [name for shard in filled for name in shard.names]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise PipelineError(
            f"two shards share {counted(len(repeated), 'video')}, the first is '{repeated[0]}';"
            " remove the copied or renamed file, and make its shard again."
        )
    keys = filled[0].arrays.keys()
    for key in keys:
        if len(shapes := {shard[key].shape[1:] for shard in filled}) > 1:
            raise PipelineError(
                f"'{key}' has different shapes in {len(filled)} shards, such as"
                f" {' and '.join(map(str, sorted(shapes)[:2]))}; rerun them."
            )
    arrays = {key: np.concatenate([shard[key] for shard in filled]) for key in keys}
    return Shard(tuple(names), arrays, shards[0].meta).select(sorted(names))


@dataclass(frozen=True)
class StatusRow:
    """The outcome for one video in one stage.

    Attributes
    ----------
    filename
        Full video name.
    kept
        Whether the shard file contains the video.
    status
        ``ok``, or the code of the problem (kept videos that had to be padded have one too).
    detail
        One sentence for people; empty if there is no problem.
    backend
        Library that decoded the frames; empty if not applicable.
    video_seconds, audio_seconds
        How much of the window each stream covers, in seconds.
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
        The file is missing, truncated, or not a status table.
    """
    text = existing_file(path, "a status table").read_bytes().decode("utf-8", "replace")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    try:
        if next(lines, None) != STATUS_COLUMNS:
            raise ValueError(f"the columns are not {', '.join(STATUS_COLUMNS)}")
        rows = [_status_row(values) for values in lines]
        if not text.endswith("\n"):
            raise ValueError("the last line is incomplete")
    except (csv.Error, ValueError) as error:
        raise PipelineError(
            f"'{path}', line {lines.line_num}: not a valid status table ({error}); delete it and"
            " its shard, and run again."
        ) from None
    return rows


def _status_row(values: Sequence[str]) -> StatusRow:
    """Parse one row of a status table.

    Raises
    ------
    ValueError
        The number of columns or a value is invalid.
    """
    if len(values) != len(STATUS_COLUMNS):
        raise ValueError(f"{len(values)} of {len(STATUS_COLUMNS)} columns")
    filename, kept, status, detail, backend, *seconds = values
    if kept not in KEPT:
        raise ValueError(f"kept must be {' or '.join(KEPT)}, not '{kept}'")
    video_seconds, audio_seconds = map(float, seconds)
    return StatusRow(
        filename, KEPT[kept], Status(status), detail, backend, video_seconds, audio_seconds
    )
