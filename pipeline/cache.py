"""Cached features and labels of some videos, and where they are read from.

``Cache`` is the same whatever lies on disk: the pipeline's shards (``ShardSource``, here) or the
folders of VALOR's authors (``pipeline.interop``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.recipes import Recipe
from pipeline.store import LABELS_FILE, PROMPTS_FILE, Shard, read_array, read_shard
from pipeline.vocabulary import Vocabulary

Array = NDArray[Any]


@dataclass(frozen=True)
class Cache:
    """What is cached of N videos, whatever the layout on disk.

    Attributes
    ----------
    names
        N videos, in row order.
    audio, visual, motion
        Features [N, T, D]; motion None where it is not asked for.
    labels
        ``audio``, ``visual`` [N, T, C] unmasked, ``audio_masked``, ``visual_masked``, in {0, 1};
        ``audio_soft``, ``visual_soft`` in [0, 1], not masked; as far as the recipe needs them.
    texts
        ``audio``, ``visual`` class texts [C, D], where the recipe needs them.
    fingerprints
        What made the features, by encoder; a checkpoint is only for features made alike.
    """

    names: tuple[str, ...]
    audio: Array
    visual: Array
    motion: Array | None = None
    labels: Mapping[str, Array] = field(default_factory=dict)
    texts: Mapping[str, Array] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays of different numbers of segments."""
        arrays = {"audio": self.audio, "visual": self.visual}
        arrays |= {f"{key} labels": array for key, array in self.labels.items()}
        if self.motion is not None:
            arrays["motion"] = self.motion
        segments = {key: array.shape[1] for key, array in arrays.items()}
        if len(set(segments.values())) > 1:
            counts = ", ".join(f"{key} {count}" for key, count in segments.items())
            raise PipelineError(
                f"features and labels differ in their segments a video ({counts}); make them alike."
            )

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of those of ``names`` that are cached, in the order of ``names``."""
        row_of = {name: row for row, name in enumerate(self.names)}
        return np.array([row_of[name] for name in names if name in row_of], dtype=np.int64)

    def dimensions(self, classes: int) -> Dimensions:
        """Return the sizes that a parser of these features needs."""
        return Dimensions(
            audio=self.audio.shape[2],
            visual=self.visual.shape[2],
            motion=0 if self.motion is None else self.motion.shape[2],
            text_audio=self.texts["audio"].shape[1] if self.texts else 0,
            text_visual=self.texts["visual"].shape[1] if self.texts else 0,
            segments=self.audio.shape[1],
            classes=classes,
        )


class Source(Protocol):
    """Somewhere that cached features lie."""

    def read(self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary) -> Cache:
        """Return what a recipe needs of those of ``names`` that are there."""


@dataclass(frozen=True)
class ShardSource:
    """The pipeline's own shards.

    Attributes
    ----------
    features
        Folder that holds one ``clip-*`` and one ``clap-*`` folder (and ``motion-*``).
    pseudo_labels
        Folder of labels.safetensors.
    clip, clap, motion
        Which folder, where there are several.
    """

    features: Path
    pseudo_labels: Path
    clip: str | None = None
    clap: str | None = None
    motion: str | None = None

    def read(self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary) -> Cache:
        """Return what a recipe needs of those of ``names`` that both encoders kept.

        Raises
        ------
        PipelineError
            A folder or file is missing or ambiguous, or was made for other classes.
        """
        clap_folder = encoder_folder(self.features, "clap", self.clap)
        clip_folder = encoder_folder(self.features, "clip", self.clip)
        features = {
            "clap": read_array(clap_folder, recipe.audio_input),
            "clip": read_array(clip_folder, "embedding"),
        }
        if recipe.motion:
            features["motion"] = read_array(
                encoder_folder(self.features, "motion", self.motion), "embedding"
            )
        fingerprints = {key: shard.meta.get("fingerprint", "") for key, shard in features.items()}
        shards = dict(features)
        if recipe.uses_pseudo_labels or recipe.uses_prior:
            shards["labels"] = self._read_labels(recipe, vocabulary, fingerprints)
        kept = set.intersection(*(set(shard.names) for shard in shards.values()))
        names = [name for name in names if name in kept]
        chosen = {key: shard.select(names) for key, shard in shards.items()}
        texts = {}
        if recipe.uses_prior:
            texts["audio"] = _texts(clap_folder / PROMPTS_FILE, vocabulary)
            texts["visual"] = _texts(clip_folder / PROMPTS_FILE, vocabulary)
        return Cache(
            names=tuple(names),
            audio=chosen["clap"][recipe.audio_input],
            visual=chosen["clip"]["embedding"],
            motion=chosen["motion"]["embedding"] if recipe.motion else None,
            labels=chosen["labels"].arrays if "labels" in chosen else {},
            texts=texts,
            fingerprints=fingerprints,
        )

    def _read_labels(
        self, recipe: Recipe, vocabulary: Vocabulary, fingerprints: Mapping[str, str]
    ) -> Shard:
        """Read the pseudo-labels, which must be of these classes and these features."""
        path = self.pseudo_labels / LABELS_FILE
        shard = read_shard(path)
        if recipe.uses_soft_labels and "audio_soft" not in shard.arrays:
            raise PipelineError(f"'{path}' has no soft labels; run pseudo-labels again.")
        classes = shard["audio"].shape[2]
        if classes != len(vocabulary):
            raise PipelineError(
                f"'{path}' is of {classes} classes, the vocabulary has {len(vocabulary)}; "
                "run pseudo-labels with this vocabulary."
            )
        for kind, fingerprint in fingerprints.items():
            if shard.meta.get(kind, fingerprint) != fingerprint:
                raise PipelineError(
                    f"'{path}' was made from {kind} features '{shard.meta[kind]}', not "
                    f"'{fingerprint}'; run pseudo-labels on these features."
                )
        return shard


def encoder_folder(features: Path, kind: str, name: str | None) -> Path:
    """Return the one folder ``{kind}-*`` of a features folder, or the one named.

    Raises
    ------
    PipelineError
        There is none, or several and none is named.
    """
    if name is not None:
        return features / name
    found = sorted(path for path in features.glob(f"{kind}-*") if path.is_dir())
    if not found:
        raise PipelineError(
            f"'{features}' has no folder {kind}-*; run `snakemake features` or check the path."
        )
    if len(found) > 1:
        raise PipelineError(
            f"'{features}' has {len(found)} folders {kind}-*: "
            f"{', '.join(path.name for path in found)}; name one with --{kind}."
        )
    return found[0]


def _texts(path: Path, vocabulary: Vocabulary) -> Array:
    shard = read_shard(path)
    if shard.names != vocabulary.names:
        raise PipelineError(
            f"'{path}' embeds the captions of {len(shard.names)} classes that are not the "
            f"vocabulary's {len(vocabulary)}; run the prompts again."
        )
    return shard["text"]
