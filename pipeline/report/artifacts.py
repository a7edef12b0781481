"""What a run left behind, as the report reads it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file
from pipeline.core.shards import LABELS_FILE, Shard, read_shard
from pipeline.core.vocabulary import MODALITIES, Vocabulary, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, Labels, read_names
from pipeline.evaluation.evaluate import SplitPredictions, read_labels, read_predictions
from pipeline.labels.thresholds import fixed_thresholds
from pipeline.parsers.registry import METHODS
from pipeline.report.trained import (
    Evaluation,
    TrainedParser,
    check_trained,
    read_json,
    read_parsers,
    require_splits,
)

SPLIT_TITLES = ("test", "val")

# The method that the page sets against the pseudo-labels when it was trained.
HEADLINE_METHOD = "link"


@dataclass(frozen=True)
class ReportInputs:
    """Where a run's artefacts lie.

    Attributes
    ----------
    models
        Folder of ``{method}/seed{S}/`` as the train stage leaves them.
    pseudo_labels
        Folder of labels.safetensors, quality.json and thresholds.tsv.
    annotations
        Folder of the annotation tables.
    statuses
        Status tables of all shards; a video may stand in several.
    check
        The annotations' check table, or None.
    videos
        Folder of the video files, whose status table of downloads says why one is missing, or None.
    benchmarks
        Folder of Snakemake's benchmark files, or None.
    vocabulary, published
        The classes, and the published results.
    settings
        What the workflow says of the run: ``configuration``, ``recipes`` and ``weights``, see
        ``provenance``.
    is_llp
        Whether the videos are LLP's, so that published results stand beside the run's own.
    """

    models: Path
    pseudo_labels: Path
    annotations: Path
    statuses: tuple[Path, ...]
    vocabulary: Path
    published: Path
    check: Path | None = None
    videos: Path | None = None
    benchmarks: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_llp: bool = False


@dataclass(frozen=True)
class Artifacts:
    """A run's results.

    Attributes
    ----------
    sources
        Where they were read.
    vocabulary
        The C classes.
    parsers
        Trained parsers by method, each method's sorted by seed.
    quality
        Split to ``unmasked`` and ``masked`` to the pseudo-labels' evaluation.
    split_names
        Split to the names of its weak table.
    labels
        The pseudo-labels of the videos that both encoders kept.
    """

    sources: ReportInputs
    vocabulary: Vocabulary
    parsers: Mapping[str, tuple[TrainedParser, ...]]
    quality: Mapping[str, Mapping[str, Evaluation]]
    split_names: Mapping[str, tuple[str, ...]]
    labels: Shard

    @property
    def headline(self) -> tuple[TrainedParser, ...]:
        """The seeds of LINK, else of the method with the best mean validation Type@AV."""
        if HEADLINE_METHOD in self.parsers:
            return self.parsers[HEADLINE_METHOD]
        return max(self.parsers.values(), key=_mean_validation_type)

    @property
    def segments(self) -> int:
        """T."""
        return int(self.labels["audio"].shape[1])

    @property
    def is_calibrated(self) -> bool:
        """Whether the pseudo-labels' thresholds were chosen on validation videos."""
        return are_calibrated(self.labels.meta)

    @cached_property
    def parsed(self) -> Mapping[str, list[SplitPredictions]]:
        """Split to what each seed of the headline method predicted, all for the same videos.

        They need not be all videos that have labels: fewer may have the features that it reads.
        """
        return {split: self._read_parsed(split) for split in SPLIT_TITLES}

    def names(self, split: str) -> tuple[str, ...]:
        """Return the N videos of a split that have pseudo-labels, in table order."""
        labelled = set(self.labels.names)
        return tuple(name for name in self.split_names[split] if name in labelled)

    def truth(self, split: str) -> Labels:
        """Return the annotated events of the videos with pseudo-labels as ``[2, N, T, C]``."""
        tables = [self.sources.annotations / table for table in EVENT_TABLES.values()]
        return read_labels(tables, self.names(split), self.segments, self.vocabulary)

    def pseudo_labels(self, split: str) -> Labels:
        """Return a split's unmasked pseudo-labels ``[2, N, T, C]``."""
        shard = self.labels.select(self.names(split))
        return np.stack([shard[modality] for modality in MODALITIES])

    def uncalibrated_labels(self, split: str) -> Labels:
        """Return what they would be at the vocabulary's thresholds ``[2, N, T, C]``."""
        shard = self.labels.select(self.names(split))
        logits = np.stack([shard[f"{modality}_logits"] for modality in MODALITIES])
        fixed = fixed_thresholds(self.vocabulary).unmasked
        labels: Labels = (logits > fixed[:, None, None]).astype(np.uint8)
        return labels

    def _read_parsed(self, split: str) -> list[SplitPredictions]:
        where = self.sources.annotations, self.vocabulary
        found = [read_predictions(parser.folder, split, *where) for parser in self.headline]
        for parser, parsed in zip(self.headline, found, strict=True):
            if parsed.names != found[0].names:
                raise PipelineError(
                    f"'{parser.folder}' was scored on other {split} videos than "
                    f"'{self.headline[0].folder}'; predict and evaluate both on the same."
                )
        return found


def read_artifacts(sources: ReportInputs) -> Artifacts:
    """Read a run's results.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or no parser has been trained and evaluated.
    """
    quality_file = sources.pseudo_labels / "quality.json"
    quality = read_json(quality_file)
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
    """Whether pseudo-labels' thresholds were chosen on validation videos, as their file says."""
    return meta.get("thresholds") == "calibrated"


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table with a header, without quoting."""
    with existing_file(path, "a table of the run").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _read_all_parsers(models: Path) -> dict[str, tuple[TrainedParser, ...]]:
    """Read every model folder of a run, methods in the registry's order."""
    found = read_parsers(sorted(path.parent for path in models.glob("*/seed*/metrics.json")))
    if not found:
        raise PipelineError(
            f"'{models}' has no METHOD/seedS/metrics.json; train a parser before the report."
        )
    return {method: found[method] for method in METHODS if method in found}


def _mean_validation_type(parsers: tuple[TrainedParser, ...]) -> float:
    return float(
        np.mean([parser.evaluations["val"]["metrics"]["segment"]["type"] for parser in parsers])
    )
