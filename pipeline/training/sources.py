"""Cached features and labels of some videos, and where they are read from.

``CachedFeatures`` is the same for every layout on disk: the pipeline's shards (``ShardSource``) or
folders of ``.npy`` files (``npy_source.NpySource``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import (
    LABELS_FILE,
    PROMPTS_FILE,
    Array,
    Shard,
    ShardReader,
    read_array,
    read_shard,
)
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.recipes import Recipe


@dataclass(frozen=True)
class CachedFeatures:
    """What is cached of N videos, whatever the layout on disk.

    Attributes
    ----------
    names
        N videos, in row order.
    audio, visual, motion
        Features [N, T, D]; motion None where it is not asked for.
    labels
        ``audio``, ``visual`` [N, T, C] unmasked, ``audio_masked``, ``visual_masked``, in {0, 1};
        ``audio_soft``, ``visual_soft`` in [0, 1], not masked; those of ``label_keys`` alone.
    texts
        ``audio``, ``visual`` class texts [C, D], where the recipe needs them.
    fingerprints
        What made the features, by encoder, and the prior, ``labels``, where the recipe needs one; a
        checkpoint is only for inputs made alike.
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
                f"features and labels differ in their segments a video ({counts}); run features and"
                " pseudo-labels on the same segments, or give .npy folders of the same length."
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


def label_keys(recipe: Recipe, for_training: bool) -> tuple[str, ...]:
    """Return which labels of ``CachedFeatures`` a recipe needs.

    Masked and soft ones are for training alone. Masked ones hold weak labels, so those of videos
    to parse are not even read.
    """
    kinds = set()
    if recipe.uses_prior:
        kinds.add("_masked" if for_training and recipe.masks_training_prior else "")
    if for_training and recipe.uses_pseudo_labels:
        kinds.add("_soft" if recipe.uses_soft_labels else "_masked")
    return tuple(modality + kind for modality in MODALITIES for kind in sorted(kinds))


class FeatureSource(Protocol):
    """Somewhere that cached features lie."""

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs of those of ``names`` that are there.

        ``for_training`` says that losses will see them; else no masked or soft label is read.
        """


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

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        """Return what a recipe needs of those of ``names`` that both encoders kept.

        Raises
        ------
        PipelineError
            A folder or file is missing or ambiguous, or was made for other classes.
        """
        folders = self._folders(recipe)
        arrays = {"clap": recipe.audio_input, "clip": "embedding", "motion": "embedding"}
        shards = {kind: read_array(folder, arrays[kind]) for kind, folder in folders.items()}
        fingerprints = {key: shard.meta.get("fingerprint", "") for key, shard in shards.items()}
        if keys := label_keys(recipe, for_training):
            shards["labels"] = self._read_labels(keys, vocabulary, fingerprints)
        texts = {}
        if recipe.uses_prior:
            for modality, kind in (("audio", "clap"), ("visual", "clip")):
                texts[modality] = _texts(folders[kind], vocabulary, fingerprints[kind])
            # An older version's labels have none, and a checkpoint trained on them asks for none.
            if made := shards["labels"].meta.get("fingerprint"):
                fingerprints["labels"] = made
        kept = set.intersection(*(set(shard.names) for shard in shards.values()))
        names = [name for name in names if name in kept]
        chosen = {key: shard.select(names) for key, shard in shards.items()}
        return CachedFeatures(
            names=tuple(names),
            audio=chosen["clap"][recipe.audio_input],
            visual=chosen["clip"]["embedding"],
            motion=chosen["motion"]["embedding"] if recipe.motion else None,
            labels=chosen["labels"].arrays if keys else {},
            texts=texts,
            fingerprints=fingerprints,
        )

    def _folders(self, recipe: Recipe) -> dict[str, Path]:
        """Return the encoders' folders that a recipe needs."""
        named = {"clap": self.clap, "clip": self.clip}
        named |= {"motion": self.motion} if recipe.motion else {}
        return {kind: encoder_folder(self.features, kind, name) for kind, name in named.items()}

    def _read_labels(
        self, keys: Sequence[str], vocabulary: Vocabulary, fingerprints: Mapping[str, str]
    ) -> Shard:
        """Read some pseudo-labels, which must be of these classes and these features."""
        path = self.pseudo_labels / LABELS_FILE
        if not path.is_file():
            raise PipelineError(
                f"this method needs pseudo-labels, but '{path}' is not there; name its folder with "
                "--pseudo-labels, or make it with the pseudo-labels stage."
            )
        with ShardReader(path) as reader:
            if absent := set(keys) - set(reader.keys):
                raise PipelineError(f"'{path}' has no {min(absent)}; run pseudo-labels again.")
            shard = Shard(reader.names, {key: reader.array(key) for key in keys}, reader.meta)
        classes = shard[keys[0]].shape[2]
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
            f"'{features}' has no folder {kind}-*; run `snakemake --cores all features`, or check"
            " the path."
        )
    if len(found) > 1:
        raise PipelineError(
            f"'{features}' has {len(found)} folders {kind}-*: "
            f"{', '.join(path.name for path in found)}; name one with --{kind}."
        )
    return found[0]


def _texts(folder: Path, vocabulary: Vocabulary, fingerprint: str) -> Array:
    """Read the class texts in a folder of features, which must be of these classes and features."""
    path = folder / PROMPTS_FILE
    shard = read_shard(path)
    if shard.names != vocabulary.names:
        raise PipelineError(
            f"'{path}' embeds the captions of {len(shard.names)} classes that are not the "
            f"vocabulary's {len(vocabulary)}; run the prompts again."
        )
    made = shard.meta.get("fingerprint", fingerprint)
    if made != fingerprint:
        raise PipelineError(
            f"'{path}' belongs to features '{made}', but '{fingerprint}' lie beside it; run the "
            "prompts again."
        )
    return shard["text"]
