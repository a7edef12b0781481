"""Reading a folder of features, all shards at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.shards import join_shards, read_features_of, shard_paths
from pipeline.core.wording import counted


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """Features of N videos of T segments.

    Attributes
    ----------
    names
        The N videos, sorted.
    arrays
        Key to ``(N, T, D)`` float32: ``embedding`` (unit length), and ``map`` of CLAP.
    provenance
        How the features were made: encoder, weights, decoding and fingerprint.
    """

    names: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.float32]]
    provenance: Mapping[str, str]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in self.arrays.items())
        return f"Features({counted(len(self), 'video')}, {shapes})"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: str) -> NDArray[np.float32]:
        if key not in self.arrays:
            raise PipelineError(f"array is '{key}'; it {one_of(key, self.arrays)}.")
        return self.arrays[key]


def read_features(folder: str | Path) -> Features:
    """Read an encoder's features of all videos, such as ``results/features/clip-0123456789``.

    Raises
    ------
    PipelineError
        The folder has no shards, or one of them is missing, copied, corrupt, made differently, or
        has values that are not finite.
    """
    folder = Path(folder)
    inside = sorted(path.parent.name for path in folder.glob("*/*-of-*.safetensors"))
    if inside and not list(folder.glob("*-of-*.safetensors")):
        raise PipelineError(
            f"'{folder}' contains several feature folders; name one of"
            f" {', '.join(dict.fromkeys(inside))}."
        )
    joined = join_shards(read_features_of(path) for path in shard_paths(folder))
    return Features(joined.names, joined.arrays, joined.meta)
