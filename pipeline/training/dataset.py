"""Load the cached features, labels and annotations of a dataset into tensors.

Weak labels are read for training videos only. For validation and test videos, only names and
unmasked pseudo-labels are read, so their weak labels cannot reach a parser.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.files import fingerprint
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import (
    SCORED_SPLITS,
    SPLIT_TABLES,
    Labels,
    read_names,
    read_splits,
    read_weak_labels,
    weak_matrix,
)
from pipeline.evaluation.evaluate import read_annotated
from pipeline.evaluation.tables import ScoredTable, stacked_labels
from pipeline.features.encoders.identity import Identity
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets, different_sizes
from pipeline.parsers.llp_numbers import LLP_CLASSES
from pipeline.parsers.losses import class_frequencies, with_temperature
from pipeline.parsers.recipes import Recipe
from pipeline.training.sources import CachedFeatures, FeatureSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingVideos:
    """Training videos: the inputs of the parser and the targets of its losses."""

    names: tuple[str, ...]
    inputs: ParserInputs
    targets: ParserTargets


@dataclass(frozen=True)
class EvaluationVideos:
    """Videos of a split to parse and score: inputs, and ground truth [N, T, C] per modality.

    ``annotated`` has what of the annotated events is not scored.
    """

    split: str
    names: tuple[str, ...]
    inputs: ParserInputs
    truth: tuple[Labels, Labels]
    annotated: Sequence[ScoredTable] = ()


@dataclass(frozen=True)
class TrainingData:
    """Everything training needs.

    Attributes
    ----------
    train
        Training videos.
    evaluated
        ``val`` and ``test`` videos.
    dimensions
        Sizes of the features.
    vocabulary
        The classes.
    fingerprints
        Fingerprint of the features of each encoder.
    encoders
        Identity of each encoder, as far as the features have it.
    """

    train: TrainingVideos
    evaluated: Mapping[str, EvaluationVideos]
    dimensions: Dimensions
    vocabulary: Vocabulary
    fingerprints: Mapping[str, str]
    encoders: Mapping[str, Identity] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash of everything that affects training, including the selection of the epoch."""
        train, val = self.train, self.evaluated["val"]
        content = [train.inputs.digest(), train.targets.digest(), val.inputs.digest()]
        content += [hashlib.sha256(labels.tobytes()).hexdigest() for labels in val.truth]
        return fingerprint(content)

    def to(self, device: torch.device) -> "TrainingData":
        """Return the same data on a device, where all seeds can share it."""
        train = replace(
            self.train, inputs=self.train.inputs.to(device), targets=self.train.targets.to(device)
        )
        evaluated = {
            split: replace(videos, inputs=videos.inputs.to(device))
            for split, videos in self.evaluated.items()
        }
        return replace(self, train=train, evaluated=evaluated)


def read_training_data(
    source: FeatureSource, annotations: Path, recipe: Recipe, vocabulary: Vocabulary
) -> TrainingData:
    """Read everything training needs.

    Parameters
    ----------
    source
        Source of the cached features and labels.
    annotations
        Folder of the annotation tables.
    recipe
        Determines which features and labels are read.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        Something is missing, a video is in two splits, feature sizes differ between splits, a split
        has no usable video, or the recipe holds numbers for LLP's classes and the vocabulary has
        others.
    """
    _check_classes(recipe, vocabulary)
    names = read_splits(annotations)
    source.check_names([name for listed in names.values() for name in listed])
    train = source.read(names["train"], recipe, vocabulary, for_training=True)
    scored_names = [name for split in SCORED_SPLITS for name in names[split]]
    scored = source.read(scored_names, recipe, vocabulary, for_training=False)
    dimensions = train.dimensions(len(vocabulary))
    train_sizes, scored_sizes = different_sizes(dimensions, scored.dimensions(len(vocabulary)))
    if train_sizes:
        raise PipelineError(
            f"training videos have features with {train_sizes}, but val and test videos have "
            f"{scored_sizes}; extract all features with the same encoders."
        )
    return TrainingData(
        train=_training_videos(train, annotations, names["train"], recipe, vocabulary),
        evaluated={
            split: evaluation_videos(scored, annotations, split, names[split], vocabulary)
            for split in SCORED_SPLITS
        },
        dimensions=dimensions,
        vocabulary=vocabulary,
        fingerprints=train.fingerprints,
        encoders=train.encoders,
    )


def _check_classes(recipe: Recipe, vocabulary: Vocabulary) -> None:
    if recipe.needs_llp_classes and vocabulary.names != LLP_CLASSES:
        options = [name for name, value in recipe.model_dump().items() if value == "released"]
        raise PipelineError(
            f"{' and '.join(options)} must not be 'released' with these {len(vocabulary)} classes:"
            f" the released numbers are of LLP's {len(LLP_CLASSES)} classes, in LLP's order."
        )


def split_names(annotations: Path, split: str) -> list[str]:
    """Return the names of the videos in a split, without reading weak labels.

    Raises
    ------
    PipelineError
        The split is unknown or its table is missing.
    """
    if split not in SPLIT_TABLES:
        raise PipelineError(f"'{split}' is not a split; it {one_of(split, SPLIT_TABLES)}.")
    return read_names(annotations / SPLIT_TABLES[split])


def parser_inputs(
    cache: CachedFeatures, split: str, names: Sequence[str], prior: Literal["", "_masked"] = ""
) -> tuple[tuple[str, ...], ParserInputs]:
    """Return the names of the cached videos of a split, and their parser inputs.

    Parameters
    ----------
    cache
        Cached features and labels.
    split, names
        The split, and all its videos.
    prior
        Suffix of the labels used as prior: unmasked, or masked (training videos only).

    Raises
    ------
    PipelineError
        No video of the split has cached features.
    """
    rows = cache.rows(names)
    if not len(rows):
        raise PipelineError(
            f"none of the {len(names)} {split} videos has features; "
            "check that the features and annotations belong to the same dataset."
        )
    if len(rows) < len(names):
        logger.warning(
            "%s: skipping %d of %d videos without features or labels",
            split,
            len(names) - len(rows),
            len(names),
        )
    return tuple(cache.names[row] for row in rows), _inputs(cache, rows, prior)


def evaluation_videos(
    cache: CachedFeatures,
    annotations: Path,
    split: str,
    names: Sequence[str],
    vocabulary: Vocabulary,
) -> EvaluationVideos:
    """Return the cached videos of a validation or test split, with their annotations.

    See ``parser_inputs`` for the parameters and errors.
    """
    kept, inputs = parser_inputs(cache, split, names)
    annotated = read_annotated(annotations, kept, cache.audio.shape[1], vocabulary)
    audio, visual = stacked_labels(annotated)
    return EvaluationVideos(split, kept, inputs, (audio, visual), annotated)


def _training_videos(
    cache: CachedFeatures,
    annotations: Path,
    names: Sequence[str],
    recipe: Recipe,
    vocabulary: Vocabulary,
) -> TrainingVideos:
    prior: Literal["", "_masked"] = "_masked" if recipe.masks_training_prior else ""
    kept, inputs = parser_inputs(cache, "train", names, prior)
    rows = cache.rows(kept)
    weak = read_weak_labels(annotations / SPLIT_TABLES["train"], vocabulary)
    matrix = torch.from_numpy(weak_matrix(weak, kept, len(vocabulary))).float()
    pseudo = _pseudo_labels(cache, rows, matrix, recipe) if recipe.uses_pseudo_labels else {}
    return TrainingVideos(kept, inputs, ParserTargets(matrix, **pseudo))


def _pseudo_labels(
    cache: CachedFeatures, rows: NDArray[np.int64], weak: Tensor, recipe: Recipe
) -> dict[str, Tensor]:
    """Return the pseudo-labels for the losses and their class frequencies."""
    targets = {}
    for modality in MODALITIES:
        if recipe.uses_soft_labels:
            soft = _tensor(cache.labels[f"{modality}_soft"], rows)
            labels = with_temperature(soft, recipe.label_temperature) * weak[:, None]
        else:
            labels = _tensor(cache.labels[f"{modality}_masked"], rows)
        targets[f"pseudo_{modality}"] = labels
        targets[f"frequency_{modality}"] = class_frequencies(labels)
    return targets


def _inputs(cache: CachedFeatures, rows: NDArray[np.int64], prior: str) -> ParserInputs:
    semantics: dict[str, Tensor] = {}
    for modality, texts in cache.texts.items():
        semantics[f"text_{modality}"] = torch.from_numpy(texts).float()
        if modality + prior in cache.labels:
            semantics[f"prior_{modality}"] = _tensor(cache.labels[modality + prior], rows)
    return ParserInputs(
        audio=_tensor(cache.audio, rows),
        visual=_tensor(cache.visual, rows),
        motion=None if cache.motion is None else _tensor(cache.motion, rows),
        **semantics,
    )


def _tensor(array: NDArray[Any], rows: NDArray[np.int64]) -> Tensor:
    # Indexing copies, and frames of LLP's training videos take 6.6 GB.
    is_whole = array.flags.writeable and np.array_equal(rows, np.arange(len(array)))
    return torch.from_numpy(array if is_whole else array[rows]).float()
