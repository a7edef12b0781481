"""Comparison of two feature folders by segment-wise cosine similarity."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import Array, ShardReader, read_array, shard_paths
from pipeline.core.wording import counted
from pipeline.features.npy_layouts import ID_LENGTH, check_unique_ids, read_npy_folder

PERCENTILES = (0, 1, 5, 25, 50, 75, 100)
EDGES = (-1.0, 0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
BAR = 40
WORST = 10


@dataclass(frozen=True)
class FeatureComparison:
    """The cosine similarities of two folders' features.

    Attributes
    ----------
    names
        N videos that are in both.
    cosines
        ``[N, T]``, one per pair of segments.
    only_first, only_second
        Number of videos that are in one folder only.
    """

    names: tuple[str, ...]
    cosines: NDArray[np.float64]
    only_first: int
    only_second: int

    def text(self) -> str:
        """Return mean, percentiles, histogram and the least similar videos as text."""
        videos, segments = self.cosines.shape
        lines = [
            f"{counted(videos, 'video')} of {counted(segments, 'segment')} in both,"
            f" {self.only_first} only in the first, {self.only_second} only in the second",
            f"cosine: mean {self.cosines.mean():.6f}",
        ]
        for share, value in zip(PERCENTILES, np.percentile(self.cosines, PERCENTILES), strict=True):
            lines.append(f"  percentile {share:3d}: {value:.6f}")
        return "\n".join([*lines, *self._histogram(), *self._worst()])

    def _histogram(self) -> list[str]:
        counts, _ = np.histogram(np.clip(self.cosines, -1, 1), EDGES)
        longest = max(counts.max(), 1)
        return [
            f"  {low:7.4f} to {high:7.4f} {count:9d} {'#' * int(np.ceil(BAR * count / longest))}"
            for low, high, count in zip(EDGES[:-1], EDGES[1:], counts.tolist(), strict=True)
        ]

    def _worst(self) -> list[str]:
        means = self.cosines.mean(axis=1)
        return ["least similar videos (mean, lowest segment):"] + [
            f"  {means[row]:.6f} {self.cosines[row].min():.6f} {self.names[row]}"
            for row in np.argsort(means, kind="stable")[:WORST]
        ]


def compare_features(first: Path, second: Path, array: str = "embedding") -> FeatureComparison:
    """Compare two feature folders: our shards, or ``.npy`` files by YouTube id (VALOR, HAN).

    Parameters
    ----------
    first, second
        Folders of shards, or of ``.npy`` files such as ``CLIP/features`` or ``res152`` (see
        ``npy_layouts.read_npy_folder``). If one has ``.npy`` files, names are cut to the id.
    array
        Array of the shards: ``embedding``, or CLAP's ``map``.

    Raises
    ------
    PipelineError
        A folder cannot be read, they share no video, their shapes differ, or cutting names to the
        id makes them ambiguous.
    """
    _check_alike(first, second)
    by_id = any(_is_npy(folder) for folder in (first, second))
    ours, theirs = (_read(folder, array, by_id) for folder in (first, second))
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise PipelineError(
            f"'{first}' and '{second}' have no video in common ({len(ours)} and {len(theirs)}"
            " videos); check the paths."
        )
    a, b = (np.stack([features[name] for name in shared]) for features in (ours, theirs))
    if a.shape != b.shape:
        raise PipelineError(
            f"'{first}' has {a.shape[1]} segments of {a.shape[2]} dimensions, '{second}'"
            f" {b.shape[1]} of {b.shape[2]}; give two folders of the same encoder, or --array map."
        )
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosines = (a * b).sum(axis=-1) / np.maximum(lengths, 1e-12)
    return FeatureComparison(
        tuple(shared), cosines, len(ours) - len(shared), len(theirs) - len(shared)
    )


def _check_alike(first: Path, second: Path) -> None:
    """Check that shards are of one encoder; ``.npy`` files do not say whose they are."""
    encoders = [
        reader.meta.get("encoder")
        for folder in (first, second)
        if not _is_npy(folder)
        for reader in [ShardReader(shard_paths(folder)[0])]
    ]
    if len(set(encoders) - {None}) > 1:
        raise PipelineError(
            f"'{first}' has features of {encoders[0]}, '{second}' of {encoders[1]}; cosines mean"
            " something for the same encoder only."
        )


def _is_npy(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.npy"))


def _read(folder: Path, array: str, by_id: bool) -> dict[str, Array]:
    if _is_npy(folder):
        return read_npy_folder(folder)
    shard = read_array(folder, array)
    names = shard.names
    if by_id:
        check_unique_ids(names)
        names = tuple(name[:ID_LENGTH] for name in names)
    return dict(zip(names, shard[array], strict=True))
