"""Read the results of a run for the report."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file
from pipeline.core.shards import LABELS_FILE, Shard, read_shard
from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, Labels, read_names
from pipeline.evaluation.evaluate import SplitPredictions, read_predictions
from pipeline.evaluation.tables import read_labels
from pipeline.labels.pseudo_labels import RELEASED_LABELS, TEACHER_LABELS, stacked
from pipeline.labels.thresholds import fixed_thresholds
from pipeline.parsers.model_folders import model_folders
from pipeline.parsers.recipes.base import CALIBRATED, TAUGHT
from pipeline.parsers.registry import METHODS
from pipeline.parsers.released import RELEASED
from pipeline.report.titles import LLP, UNKNOWN_DATASET
from pipeline.report.trained import (
    RELEASED_SUFFIX,
    Evaluation,
    TrainedParser,
    check_trained,
    read_parsers,
    read_result,
    require_splits,
)

SPLIT_TITLES = ("test", "val")


@dataclass(frozen=True)
class ReportInputs:
    """Paths and settings of the run to report.

    Attributes
    ----------
    models
        Folders ``{method}/seed{S}/`` of the trained parsers, or a folder of all. Others are not
        read.
    pseudo_labels
        Folder of labels.safetensors, quality.json and thresholds.tsv.
    annotations
        Folder of the annotation tables.
    statuses
        Status tables of all shards; a video may occur in several.
    check
        Table of annotation checks, or None.
    videos
        Folder of the video files and their download history, which explains missing videos; or
        None.
    benchmarks
        Snakemake's benchmark files, patterns of their names, or their folder.
    vocabulary, published
        Files of the classes and of the published results.
    settings
        Settings recorded by the workflow: ``configuration``, ``recipes`` and ``weights``, see
        ``provenance``.
    dataset
        Name of the dataset; only LLP's results are comparable with published ones.
    """

    models: tuple[Path, ...]
    pseudo_labels: Path
    annotations: Path
    statuses: tuple[Path, ...]
    vocabulary: Path
    published: Path
    check: Path | None = None
    videos: Path | None = None
    benchmarks: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = UNKNOWN_DATASET

    @property
    def is_llp(self) -> bool:
        """Whether the videos are LLP's."""
        return self.dataset == LLP


@dataclass(frozen=True)
class Artifacts:
    """Results of a run.

    Attributes
    ----------
    sources
        Paths the results were read from.
    vocabulary
        The C classes.
    parsers
        Method to its trained parsers, sorted by seed.
    quality
        Split to ``unmasked`` or ``masked`` to the evaluation of the pseudo-labels.
    split_names
        Split to the video names in its weak-label table.
    labels
        Pseudo-labels of the videos with features of both encoders.
    """

    sources: ReportInputs
    vocabulary: Vocabulary
    parsers: Mapping[str, tuple[TrainedParser, ...]]
    quality: Mapping[str, Mapping[str, Evaluation]]
    split_names: Mapping[str, tuple[str, ...]]
    labels: Shard

    @property
    def headline(self) -> tuple[TrainedParser, ...]:
        """The seeds of the method with the best segment-level Type@AV on the test split."""
        return max(self.parsers.values(), key=_mean_type)

    @property
    def segments(self) -> int:
        """Number of segments per video, T."""
        return int(next(iter(self.labels.arrays.values())).shape[1])

    @property
    def has_unmasked_labels(self) -> bool:
        """Whether there are unmasked pseudo-labels: not where only masked ones were released."""
        return "audio" in self.labels.arrays

    @property
    def label_kind(self) -> str:
        """The pseudo-labels that are shown beside parsers: ``unmasked`` or else ``masked``."""
        return "unmasked" if self.has_unmasked_labels else "masked"

    @property
    def is_calibrated(self) -> bool:
        """Whether the thresholds of the pseudo-labels were calibrated on validation videos."""
        return are_calibrated(self.labels.meta)

    @cached_property
    def parsed(self) -> Mapping[str, list[SplitPredictions]]:
        """Split to the predictions of each seed of the headline method, on the same videos.

        Videos with pseudo-labels may be missing here if they lack a feature the method reads.
        """
        return {split: self.predictions(self.headline, split) for split in SPLIT_TITLES}

    def names(self, split: str) -> tuple[str, ...]:
        """Return the N videos of a split that have pseudo-labels, in table order."""
        labelled = set(self.labels.names)
        return tuple(name for name in self.split_names[split] if name in labelled)

    def truth(self, split: str) -> Labels:
        """Return the ground truth ``[2, N, T, C]`` of the videos with pseudo-labels."""
        tables = [self.sources.annotations / table for table in EVENT_TABLES.values()]
        return read_labels(tables, self.names(split), self.segments, self.vocabulary)

    def pseudo_labels(self, split: str) -> Labels:
        """Return the pseudo-labels ``[2, N, T, C]`` of a split, of the kind that is shown."""
        suffix = "" if self.has_unmasked_labels else "_masked"
        return stacked(self.labels, self.names(split), suffix)

    def uncalibrated_labels(self, split: str) -> Labels:
        """Return the pseudo-labels ``[2, N, T, C]`` at the vocabulary's thresholds."""
        logits = stacked(self.labels, self.names(split), "_logits")
        fixed = fixed_thresholds(self.vocabulary).unmasked
        labels: Labels = (logits > fixed[:, None, None]).astype(np.uint8)
        return labels

    def predictions(self, parsers: Sequence[TrainedParser], split: str) -> list[SplitPredictions]:
        """Return the predictions of each seed of a method for a split.

        Raises
        ------
        PipelineError
            The seeds were scored on different videos.
        """
        where = self.sources.annotations, self.vocabulary
        found = [read_predictions(parser.folder, split, *where) for parser in parsers]
        for parser, parsed in zip(parsers, found, strict=True):
            if parsed.names != found[0].names:
                raise PipelineError(
                    f"'{parser.folder}' was scored on other {split} videos than "
                    f"'{parsers[0].folder}'; predict and evaluate both on the same videos."
                )
        return found


def read_artifacts(sources: ReportInputs) -> Artifacts:
    """Read the results of a run.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or there is no trained and evaluated parser.
    """
    quality_file = sources.pseudo_labels / "quality.json"
    quality = read_result(quality_file)
    require_splits(quality, quality_file)
    return Artifacts(
        sources=sources,
        vocabulary=read_vocabulary(sources.vocabulary),
        parsers=_read_all_parsers(sources.models),
        quality={split: check_trained(quality[split], quality_file) for split in SPLIT_TITLES},
        split_names={
            split: tuple(read_names(sources.annotations / table))
            for split, table in SPLIT_TABLES.items()
        },
        labels=read_shard(sources.pseudo_labels / LABELS_FILE),
    )


def are_calibrated(meta: Mapping[str, str]) -> bool:
    """Return whether the metadata of pseudo-labels records calibrated thresholds."""
    return meta.get("thresholds") == "calibrated"


def are_taught(meta: Mapping[str, str]) -> bool:
    """Return whether the metadata of pseudo-labels records masked labels of a teacher."""
    return TEACHER_LABELS in meta


def dense_labels(meta: Mapping[str, str], are_masked: bool = True) -> list[str]:
    """Return the dense labels that pseudo-labels rest on, as the result tables name them.

    Only masked ones are a teacher's, whose thresholds are always chosen on validation videos.
    """
    by_teacher = [TAUGHT] if are_masked and are_taught(meta) else []
    return by_teacher + ([CALIBRATED] if by_teacher or are_calibrated(meta) else [])


def are_released(meta: Mapping[str, str]) -> bool:
    """Return whether the metadata of pseudo-labels records released masked labels."""
    return RELEASED_LABELS in meta


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table with a header, as ``write_tsv`` and Snakemake write them."""
    try:
        with existing_file(path, "a table of the run").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise PipelineError(f"'{path}' is not a table ({error}); run its stage again.") from None


def _read_all_parsers(models: Sequence[Path]) -> dict[str, tuple[TrainedParser, ...]]:
    """Read the model folders of a run, with methods in the registry's order."""
    found = read_parsers(model_folders(models))
    order = [*METHODS, *(key + RELEASED_SUFFIX for key in RELEASED)]
    return {method: found[method] for method in order if method in found}


def _mean_type(parsers: tuple[TrainedParser, ...]) -> float:
    scores = [parser.evaluations["test"]["metrics"]["segment"]["type"] for parser in parsers]
    return float(np.mean(scores))
