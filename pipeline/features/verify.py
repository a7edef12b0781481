"""Whether a feature folder is whole: what a person asks before keeping or sharing it."""

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
from pipeline.data.manifest import shard_of
from pipeline.features.encoders.options import ENCODER_OPTIONS

FOLDER_NAME = re.compile(r"^[a-z]+-(?P<fingerprint>[0-9a-f]{10})$")
# How far a unit vector's length may be from 1: float32 keeps 1e-6, float16 5e-4.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class VerifiedFolder:
    """What a whole folder holds.

    Attributes
    ----------
    encoder
        Whose features they are.
    fingerprint
        What names their numbers.
    shards, videos, left_out
        How many shards, videos with features, and rows of the status tables without.
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
        """Return it as one sentence."""
        arrays = ", ".join(
            f"{key} [{self.videos}, {t}, {d}]" for key, (t, d) in self.shapes.items()
        )
        return (
            f"{self.encoder} {self.fingerprint}: {self.shards} shards are whole, {self.videos}"
            f" videos ({self.left_out} left out), {arrays}."
        )


def verify_features(folder: Path) -> VerifiedFolder:
    """Read every shard of a feature folder and see that all is as the features stage writes it.

    Names stand once and in their own shard, shapes, number types and fingerprints are equal, values
    finite, embeddings of length 1 (of encoders that read captions), and the status tables name
    exactly the videos that are there.

    Raises
    ------
    PipelineError
        The first thing that is not so.
    """
    paths = shard_paths(folder)
    first = read_shard(paths[0])
    for key in ("encoder", "fingerprint", "segments"):
        if key not in first.meta:
            raise PipelineError(f"'{paths[0]}' does not say its {key}; it is no features shard.")
    _check_folder_name(folder, first.meta["fingerprint"])
    shapes = {key: tuple(array.shape[1:]) for key, array in first.arrays.items()}
    seen: dict[str, str] = {}
    left_out = 0
    for path in paths:
        shard = first if path == paths[0] else read_shard(path)
        if shard.meta != first.meta:
            raise _broken(path, f"was made in another way than {paths[0].name}")
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
            f"'{folder}' holds features with fingerprint {fingerprint}, which its name does not"
            " say; give it the name that it was made with, or run it again."
        )


def _check_names(path: Path, names: tuple[str, ...], count: int, seen: dict[str, str]) -> None:
    for name in names:
        if name in seen:
            raise _broken(path, f"has '{name}', which is in {seen[name]} too")
        seen[name] = path.name
        _check_place(path, name, count)


def _check_place(path: Path, name: str, count: int) -> None:
    match = SHARD_NAME.match(path.name)
    place = shard_of(name, count)
    if match and int(match["index"]) != place:
        raise _broken(path, f"has '{name}', whose place is shard {place}")


def _check_arrays(path: Path, shard: Shard, shapes: dict[str, tuple[int, ...]]) -> None:
    found = {key: tuple(array.shape[1:]) for key, array in shard.arrays.items()}
    segments = int(shard.meta["segments"])
    is_sane = all(len(shape) == 2 and shape[0] == segments for shape in found.values())
    if found != shapes or not is_sane or "embedding" not in found:
        raise _broken(path, f"has arrays {found}, where {shapes} of {segments} segments are due")
    storage = shard.meta.get("storage", "float32")
    for key, array in shard.arrays.items():
        if array.dtype != storage:
            raise _broken(path, f"has {key} in {array.dtype}, where {storage} is due")
        good = np.isfinite(array).all(axis=(1, 2))
        if not good.all():
            raise _broken(path, f"has {key} that is not finite for {_first(shard, ~good)}")
    if ENCODER_OPTIONS[shard.meta["encoder"]].captions is None:
        return
    lengths = np.linalg.norm(shard["embedding"].astype(np.float32), axis=-1)
    off = (np.abs(lengths - 1) > NORM_TOLERANCE).any(axis=1)
    if off.any():
        raise _broken(path, f"has an embedding whose length is not 1 for {_first(shard, off)}")


def _check_status(path: Path, names: tuple[str, ...], count: int) -> int:
    """Return how many videos the shard's table says are left out."""
    table = path.with_suffix(".status.tsv")
    rows = read_status(table)
    for row in rows:
        _check_place(table, row.filename, count)
    if len({row.filename for row in rows}) != len(rows):
        raise _broken(table, "names a video twice")
    kept = {row.filename for row in rows if row.kept}
    if differing := sorted(kept ^ set(names)):
        where = "keeps" if differing[0] in kept else "does not keep"
        raise _broken(table, f"{where} '{differing[0]}', but {path.name} says otherwise")
    return len(rows) - len(kept)


def _check_prompts(path: Path, fingerprint: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if not path.is_file():
        return
    prompts = read_shard(path)
    if prompts.meta.get("fingerprint") != fingerprint:
        raise _broken(path, "belongs to features with another fingerprint", "that file")
    if prompts["text"].shape[1:] != shapes["embedding"][1:]:
        what = f"has texts {prompts['text'].shape} for {shapes['embedding']}"
        raise _broken(path, what, "that file")


def _first(shard: Shard, rows: NDArray[Any]) -> str:
    return f"'{shard.names[int(np.argmax(rows))]}' ({int(rows.sum())} in all)"


def _broken(path: Path, what: str, culprit: str = "that shard and its table") -> PipelineError:
    return PipelineError(f"'{path}' {what}; delete {culprit} and run it again.")
