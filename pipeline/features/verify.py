"""Integrity check of a feature folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import (
    PROMPTS_FILE,
    SHARD_NAME,
    Shard,
    read_shard,
    read_status,
    shard_paths,
)
from pipeline.core.wording import counted
from pipeline.data.manifest import shard_of
from pipeline.features.encoders.options import ENCODER_OPTIONS
from pipeline.features.import_options import UNIT_ARRAYS, similarity_array

FOLDER_NAME = re.compile(r"^[a-z]+-(?P<fingerprint>[0-9a-f]{10})$")
# Arrays that a parser reads; a folder has one of them or both.
FEATURE_ARRAYS = {"embedding", "map"}
# Largest deviation of a unit vector's length from 1: float32 gives 1e-6, float16 5e-4.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class VerifiedFolder:
    """The contents of a valid feature folder.

    Attributes
    ----------
    encoder
        Name of the encoder.
    fingerprint
        Fingerprint of the features.
    shards, videos, left_out
        Number of shards, of videos with features, and of dropped videos.
    shapes
        Array name to ``(T, D)``.
    """

    encoder: str
    fingerprint: str
    shards: int
    videos: int
    left_out: int
    shapes: dict[str, tuple[int, int]]

    def line(self) -> str:
        """Return a one-sentence summary."""
        arrays = ", ".join(
            f"{key} [{self.videos}, {t}, {d}]" for key, (t, d) in self.shapes.items()
        )
        return (
            f"{self.encoder} {self.fingerprint}: {counted(self.shards, 'valid shard')},"
            f" {counted(self.videos, 'video')} ({self.left_out} dropped), {arrays}."
        )


def verify_features(folder: Path) -> VerifiedFolder:
    """Read every shard of a feature folder and check it.

    Names must be unique and in the right shard; shapes, dtypes and fingerprints equal; values
    finite; embeddings that similarities are computed from of unit length; and the status tables
    must list exactly the videos in the shards.

    Raises
    ------
    PipelineError
        The first problem found.
    """
    paths = shard_paths(folder)
    first = read_shard(paths[0])
    for key in ("encoder", "fingerprint", "segments"):
        if key not in first.meta:
            raise PipelineError(
                f"'{paths[0]}' has no '{key}' in its header; give a folder of features."
            )
    _check_folder_name(folder, first.meta["fingerprint"])
    shapes = {key: tuple(array.shape[1:]) for key, array in first.arrays.items()}
    seen: dict[str, str] = {}
    left_out = 0
    for path in paths:
        shard = first if path == paths[0] else read_shard(path)
        if shard.meta != first.meta:
            raise _broken(path, f"was made with other settings than {paths[0].name}")
        _check_names(path, shard.names, len(paths), seen)
        _check_arrays(path, shard, shapes)
        left_out += _check_status(path, shard.names, len(paths))
    _check_prompts(folder / PROMPTS_FILE, first.meta["fingerprint"], shapes)
    return VerifiedFolder(
        encoder=first.meta["encoder"],
        fingerprint=first.meta["fingerprint"],
        shards=len(paths),
        videos=len(seen),
        left_out=left_out,
        shapes={key: (shape[0], shape[1]) for key, shape in shapes.items()},
    )


def _check_folder_name(folder: Path, fingerprint: str) -> None:
    match = FOLDER_NAME.match(folder.resolve().name)
    if match and match["fingerprint"] != fingerprint:
        raise PipelineError(
            f"'{folder}' holds features with fingerprint {fingerprint}, but its name says"
            " otherwise; rename the folder, or make the features again."
        )


def _check_names(path: Path, names: tuple[str, ...], count: int, seen: dict[str, str]) -> None:
    for name in names:
        if name in seen:
            raise _broken(path, f"has '{name}', which is also in {seen[name]}")
        seen[name] = path.name
        _check_shard_index(path, name, count)


def _check_shard_index(path: Path, name: str, count: int) -> None:
    match = SHARD_NAME.match(path.name)
    expected = shard_of(name, count)
    if match and int(match["index"]) != expected:
        raise _broken(path, f"has '{name}', which belongs in shard {expected}")


def _check_arrays(path: Path, shard: Shard, shapes: dict[str, tuple[int, ...]]) -> None:
    found = {key: tuple(array.shape[1:]) for key, array in shard.arrays.items()}
    segments = int(shard.meta["segments"])
    is_sane = all(len(shape) == 2 and shape[0] == segments for shape in found.values())
    if found != shapes or not is_sane or not found.keys() & FEATURE_ARRAYS:
        raise _broken(path, f"has arrays {found}; expected {shapes} with {segments} segments")
    storage = shard.meta.get("storage", "float32")
    for key, array in shard.arrays.items():
        if array.dtype != storage:
            raise _broken(path, f"has {key} as {array.dtype}; expected {storage}")
        good = np.isfinite(array).all(axis=(1, 2))
        if not good.all():
            raise _broken(path, f"has {key} values that are not finite for {_first(shard, ~good)}")
    for key in _unit_arrays(shard):
        lengths = np.linalg.norm(shard[key].astype(np.float32), axis=-1)
        off = (np.abs(lengths - 1) > NORM_TOLERANCE).any(axis=1)
        if off.any():
            raise _broken(path, f"has embeddings whose length is not 1 for {_first(shard, off)}")


def _unit_arrays(shard: Shard) -> list[str]:
    """Return the arrays whose rows have length 1: imported features list them."""
    if UNIT_ARRAYS in shard.meta:
        return [key for key in shard.meta[UNIT_ARRAYS].split(",") if key]
    has_captions = ENCODER_OPTIONS[shard.meta["encoder"]].captions is not None
    return ["embedding"] if has_captions else []


def _check_status(path: Path, names: tuple[str, ...], count: int) -> int:
    """Return the number of videos that the shard's status table marks as dropped."""
    table = path.with_suffix(".status.tsv")
    rows = read_status(table)
    for row in rows:
        _check_shard_index(table, row.filename, count)
    if len({row.filename for row in rows}) != len(rows):
        raise _broken(table, "lists a video twice")
    kept = {row.filename for row in rows if row.kept}
    if differing := sorted(kept ^ set(names)):
        mark = "kept" if differing[0] in kept else "dropped"
        raise _broken(table, f"marks '{differing[0]}' as {mark}, but {path.name} disagrees")
    return len(rows) - len(kept)


def _check_prompts(path: Path, fingerprint: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if not path.is_file():
        return
    prompts = read_shard(path)
    if prompts.meta.get("fingerprint") != fingerprint:
        raise _broken(path, "belongs to features with a different fingerprint", "that file")
    embedding = shapes[similarity_array(shapes)]
    if prompts["text"].shape[1:] != embedding[1:]:
        what = f"has text embeddings {prompts['text'].shape} for {embedding}"
        raise _broken(path, what, "that file")


def _first(shard: Shard, rows: NDArray[Any]) -> str:
    return f"'{shard.names[int(np.argmax(rows))]}' ({int(rows.sum())} in total)"


def _broken(path: Path, what: str, culprit: str = "that shard and its table") -> PipelineError:
    return PipelineError(f"'{path}' {what}; delete {culprit} and run it again.")
