"""What a run left behind, as the report reads it."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    Labels,
    events_to_segments,
    read_events,
    read_names,
)
from pipeline.errors import PipelineError
from pipeline.files import existing_file
from pipeline.metrics import LEVELS, METRICS
from pipeline.parsers.registry import METHODS
from pipeline.pseudo_labels import fixed_thresholds
from pipeline.store import LABELS_FILE, Shard, read_shard
from pipeline.vocabulary import MODALITIES, Vocabulary, read_vocabulary

Evaluation = dict[str, Any]

SPLITS = ("test", "val")

# The method that the page sets against the pseudo-labels when it was trained.
HEADLINE_METHOD = "link"


@dataclass(frozen=True)
class Sources:
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
    benchmarks: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_llp: bool = False


@dataclass(frozen=True)
class TrainedParser:
    """One method trained with one seed.

    Attributes
    ----------
    method, seed
        Which one.
    folder
        Its model folder.
    evaluations
        Split to evaluation (see ``pipeline.evaluation``).
    curve
        One row per epoch: column to value.
    """

    method: str
    seed: int
    folder: Path
    evaluations: Mapping[str, Evaluation]
    curve: tuple[Mapping[str, float], ...]

    @property
    def display_name(self) -> str:
        """The method's name as tables and plots show it."""
        return METHODS[self.method].display_name if self.method in METHODS else self.method


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
        The pseudo-labels of the videos that both encoders kept, thus those that were evaluated.
    """

    sources: Sources
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
        return self.labels.meta.get("thresholds") == "calibrated"

    @cached_property
    def labelled(self) -> frozenset[str]:
        """Names of the videos that have pseudo-labels."""
        return frozenset(self.labels.names)

    def names(self, split: str) -> tuple[str, ...]:
        """Return the N videos of a split that were evaluated, in table order."""
        return tuple(name for name in self.split_names[split] if name in self.labelled)

    def truth(self, split: str) -> Labels:
        """Return a split's annotated events as labels ``[2, N, T, C]``."""
        folder = self.sources.annotations
        return self._read(split, *(folder / EVENT_TABLES[modality] for modality in MODALITIES))

    def predictions(self, parser: TrainedParser, split: str) -> Labels:
        """Return a parser's predictions for a split as labels ``[2, N, T, C]``."""
        names = (f"predicted_{split}_{modality}.csv" for modality in MODALITIES)
        return self._read(split, *(parser.folder / name for name in names))

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

    def _read(self, split: str, *tables: Path) -> Labels:
        size = (self.names(split), self.segments, len(self.vocabulary))
        return np.stack(
            [events_to_segments(read_events(path, self.vocabulary), *size) for path in tables]
        )


def read_artifacts(sources: Sources) -> Artifacts:
    """Read a run's results.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or no parser has been trained and evaluated.
    """
    quality = read_json(sources.pseudo_labels / "quality.json")
    _require_splits(quality, sources.pseudo_labels / "quality.json")
    return Artifacts(
        sources=sources,
        vocabulary=read_vocabulary(sources.vocabulary),
        parsers=_read_all_parsers(sources.models),
        quality={
            split: _checked(quality[split], f"{sources.pseudo_labels}/quality.json")
            for split in SPLITS
        },
        split_names={
            split: tuple(read_names(sources.annotations / table))
            for split, table in SPLIT_TABLES.items()
        },
        labels=read_shard(sources.pseudo_labels / LABELS_FILE),
    )


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises
    ------
    PipelineError
        The file is missing or not JSON.
    """
    try:
        return json.loads(existing_file(path, "a result of the run").read_text("utf-8"))
    except ValueError as error:
        raise PipelineError(f"'{path}' is not JSON ({error}); run its stage again.") from None


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table with a header, without quoting."""
    with existing_file(path, "a table of the run").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_parsers(folders: Iterable[Path]) -> dict[str, tuple[TrainedParser, ...]]:
    """Read model folders ``{method}/seed{S}``, grouped by method, each method's sorted by seed.

    Raises
    ------
    PipelineError
        A folder lacks its curve or its scores, or they are malformed.
    """
    found: dict[str, list[TrainedParser]] = {}
    for folder in folders:
        parser = _read_parser(folder)
        found.setdefault(parser.method, []).append(parser)
    return {
        method: tuple(sorted(parsers, key=lambda parser: parser.seed))
        for method, parsers in found.items()
    }


def _read_all_parsers(models: Path) -> dict[str, tuple[TrainedParser, ...]]:
    """Read every model folder of a run, methods in the registry's order and others after them."""
    found = read_parsers(sorted(path.parent for path in models.glob("*/seed*/metrics.json")))
    if not found:
        raise PipelineError(
            f"'{models}' has no METHOD/seedS/metrics.json; train a parser before the report."
        )
    return {method: found[method] for method in (*METHODS, *found) if method in found}


def _read_parser(folder: Path) -> TrainedParser:
    path = folder / "curve.csv"
    with existing_file(path, "a training curve").open(encoding="utf-8", newline="") as file:
        try:
            curve = tuple(
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            )
            seed = int(folder.name.removeprefix("seed"))
        except (TypeError, ValueError) as error:
            raise PipelineError(
                f"'{path}' is not the training curve of a seed ({error}); train again."
            ) from None
    evaluations = read_json(folder / "metrics.json")
    _require_splits(evaluations, folder / "metrics.json")
    evaluations = _checked(evaluations, f"{folder}/metrics.json")
    return TrainedParser(folder.parent.name, seed, folder, evaluations, curve)


def _require_splits(value: Any, path: Path) -> None:
    absent = [split for split in SPLITS if not isinstance(value, dict) or split not in value]
    if absent:
        raise PipelineError(
            f"'{path}' has no evaluation of '{absent[0]}'; the report needs scored videos of "
            f"{' and '.join(SPLITS)}."
        )


def _checked(evaluations: Any, where: str) -> dict[str, Evaluation]:
    """Return evaluations by name when each has all that the report shows."""
    try:
        for evaluation in evaluations.values():
            int(evaluation["videos"])
            for level in LEVELS:
                for modality in MODALITIES:
                    dict(evaluation["per_class"][level][modality])
                for metric in METRICS:
                    float(evaluation["metrics"][level][metric])
                    low, high = evaluation["intervals"][level][metric]
                    float(low), float(high)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{where}' is not an evaluation ({type(error).__name__}: {error}); evaluate again."
        ) from None
    return dict(evaluations)


def _mean_validation_type(parsers: tuple[TrainedParser, ...]) -> float:
    return float(
        np.mean([parser.evaluations["val"]["metrics"]["segment"]["type"] for parser in parsers])
    )
