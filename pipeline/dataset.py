"""Cached features, labels and annotations of a dataset, as tensors that fit in memory once.

Weak labels are read for training videos only. Of validation and test videos the tables give
nothing but names here, and of their pseudo-labels only the unmasked ones are used, so no weak
label of theirs can reach a parser.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    Labels,
    events_to_segments,
    read_events,
    read_names,
    read_weak_labels,
    weak_matrix,
)
from pipeline.errors import PipelineError
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.recipes import Recipe
from pipeline.store import Shard, read_shard, read_shards, shard_paths
from pipeline.vocabulary import MODALITIES, Vocabulary

logger = logging.getLogger(__name__)

EVALUATED = ("val", "test")
LABELS_FILE = "labels.safetensors"
PROMPTS_FILE = "prompts.safetensors"

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
        as far as the recipe needs them.
    texts
        ``audio``, ``visual`` class texts [C, D], where the recipe needs them.
    fingerprints
        What made the numbers, by kind; kept in the checkpoint.
    """

    names: tuple[str, ...]
    audio: Array
    visual: Array
    motion: Array | None = None
    labels: Mapping[str, Array] = field(default_factory=dict)
    texts: Mapping[str, Array] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

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
    clip, clap
        Which folder, where there are several.
    """

    features: Path
    pseudo_labels: Path
    clip: str | None = None
    clap: str | None = None

    def read(self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary) -> Cache:
        """Return what a recipe needs of those of ``names`` that both encoders kept.

        Raises
        ------
        PipelineError
            A folder or file is missing or ambiguous, or was made for other classes.
        """
        clap_folder = encoder_folder(self.features, "clap", self.clap)
        clip_folder = encoder_folder(self.features, "clip", self.clip)
        shards = {
            "clap": read_shards(shard_paths(clap_folder)),
            "clip": read_shards(shard_paths(clip_folder)),
        }
        if recipe.motion:
            motion_folder = encoder_folder(self.features, "motion", None)
            shards["motion"] = read_shards(shard_paths(motion_folder))
        if recipe.uses_pseudo_labels or recipe.uses_prior:
            shards["pseudo_labels"] = read_shard(self.pseudo_labels / LABELS_FILE)
        kept = set.intersection(*(set(shard.names) for shard in shards.values()))
        names = [name for name in names if name in kept]
        fingerprints = {key: shard.meta.get("fingerprint", "") for key, shard in shards.items()}
        chosen = {key: shard.select(names) for key, shard in shards.items()}
        texts = {}
        if recipe.uses_prior:
            texts = {
                "audio": _texts(clap_folder / PROMPTS_FILE, vocabulary),
                "visual": _texts(clip_folder / PROMPTS_FILE, vocabulary),
            }
        return Cache(
            names=tuple(names),
            audio=chosen["clap"][recipe.audio_input],
            visual=chosen["clip"]["embedding"],
            motion=chosen["motion"]["embedding"] if recipe.motion else None,
            labels=_labels(chosen.get("pseudo_labels"), vocabulary),
            texts=texts,
            fingerprints=fingerprints,
        )


@dataclass(frozen=True)
class TrainingVideos:
    """Videos to learn from: what a parser sees and what its losses see."""

    names: tuple[str, ...]
    inputs: ParserInputs
    targets: ParserTargets


@dataclass(frozen=True)
class EvaluationVideos:
    """Videos of a split to parse and score: inputs, and annotated segments [N, T, C]."""

    split: str
    names: tuple[str, ...]
    inputs: ParserInputs
    truth: tuple[Labels, Labels]


@dataclass(frozen=True)
class Dataset:
    """All that training needs.

    Attributes
    ----------
    train
        Training videos.
    evaluated
        ``val`` and ``test``.
    dimensions
        Sizes of the features.
    vocabulary
        The classes.
    fingerprints
        What made the features and labels.
    """

    train: TrainingVideos
    evaluated: Mapping[str, EvaluationVideos]
    dimensions: Dimensions
    vocabulary: Vocabulary
    fingerprints: Mapping[str, str]


def read_dataset(
    source: Source, annotations: Path, recipe: Recipe, vocabulary: Vocabulary
) -> Dataset:
    """Read all that training needs.

    Parameters
    ----------
    source
        Where the cached features and labels are.
    annotations
        Folder of the annotation tables.
    recipe
        Decides what is read.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        Something is missing, or a split has no video left.
    """
    names = {split: split_names(annotations, split) for split in SPLIT_TABLES}
    cache = source.read([name for split in names.values() for name in split], recipe, vocabulary)
    evaluated = {
        split: _evaluation_videos(cache, annotations, split, names[split], vocabulary)
        for split in EVALUATED
    }
    return Dataset(
        train=_training_videos(cache, annotations, names["train"], recipe, vocabulary),
        evaluated=evaluated,
        dimensions=cache.dimensions(len(vocabulary)),
        vocabulary=vocabulary,
        fingerprints=cache.fingerprints,
    )


def split_names(annotations: Path, split: str) -> list[str]:
    """Return the names of a split's videos; its weak labels are not read.

    Raises
    ------
    PipelineError
        The split or its table is not there.
    """
    if split not in SPLIT_TABLES:
        raise PipelineError(f"'{split}' is not a split; allowed are {', '.join(SPLIT_TABLES)}.")
    return read_names(annotations / SPLIT_TABLES[split])


def parser_inputs(
    cache: Cache, split: str, names: Sequence[str]
) -> tuple[tuple[str, ...], ParserInputs]:
    """Return which of a split's videos are cached, and what a parser sees of them.

    The prior is unmasked.

    Raises
    ------
    PipelineError
        None is cached.
    """
    rows = cache.rows(names)
    if not len(rows):
        raise PipelineError(
            f"none of the {len(names)} {split} videos has features; "
            "check that features and annotations are of the same dataset."
        )
    if len(rows) < len(names):
        logger.warning(
            "%s: %d of %d videos have no features or labels and are left out",
            split,
            len(names) - len(rows),
            len(names),
        )
    return tuple(cache.names[row] for row in rows), _inputs(cache, rows, "")


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


def _labels(shard: Shard | None, vocabulary: Vocabulary) -> dict[str, Array]:
    if shard is None:
        return {}
    labels = {
        key: shard[key] for modality in MODALITIES for key in (modality, f"{modality}_masked")
    }
    classes = labels["audio"].shape[2]
    if classes != len(vocabulary):
        raise PipelineError(
            f"the pseudo-labels have {classes} classes, the vocabulary {len(vocabulary)}; "
            "run pseudo-labels again."
        )
    return labels


def _evaluation_videos(
    cache: Cache, annotations: Path, split: str, names: Sequence[str], vocabulary: Vocabulary
) -> EvaluationVideos:
    kept, inputs = parser_inputs(cache, split, names)
    size = (cache.audio.shape[1], len(vocabulary))
    audio, visual = (
        events_to_segments(
            read_events(annotations / EVENT_TABLES[modality], vocabulary), kept, *size
        )
        for modality in MODALITIES
    )
    return EvaluationVideos(split, kept, inputs, (audio, visual))


def _training_videos(
    cache: Cache,
    annotations: Path,
    names: Sequence[str],
    recipe: Recipe,
    vocabulary: Vocabulary,
) -> TrainingVideos:
    kept, inputs = parser_inputs(cache, "train", names)
    rows = cache.rows(kept)
    if recipe.masks_training_prior:
        inputs = _inputs(cache, rows, "_masked")
    weak = read_weak_labels(annotations / SPLIT_TABLES["train"], vocabulary)
    pseudo: dict[str, Tensor] = {}
    if recipe.uses_pseudo_labels:
        pseudo = {
            f"pseudo_{modality}": _tensor(cache.labels[f"{modality}_masked"], rows)
            for modality in MODALITIES
        }
    targets = ParserTargets(
        torch.from_numpy(weak_matrix(weak, kept, len(vocabulary))).float(), **pseudo
    )
    return TrainingVideos(kept, inputs, targets)


def _inputs(cache: Cache, rows: NDArray[np.int64], suffix: Literal["", "_masked"]) -> ParserInputs:
    semantics: dict[str, Tensor] = {}
    if cache.texts:
        for modality in MODALITIES:
            semantics[f"prior_{modality}"] = _tensor(cache.labels[modality + suffix], rows)
            semantics[f"text_{modality}"] = torch.from_numpy(cache.texts[modality]).float()
    return ParserInputs(
        audio=_tensor(cache.audio, rows),
        visual=_tensor(cache.visual, rows),
        motion=None if cache.motion is None else _tensor(cache.motion, rows),
        **semantics,
    )


def _tensor(array: Array, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(array[rows]).float()
