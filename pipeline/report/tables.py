"""Result tables: parsers and pseudo-labels of this run, and published results."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, existing_file
from pipeline.evaluation.evaluate import replaced_text
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.report.artifacts import Artifacts
from pipeline.report.trained import Evaluation, TrainedParser

METRIC_TITLES = {
    "audio": "A",
    "visual": "V",
    "audio_visual": "AV",
    "type": "Type",
    "event": "Event",
}
LEVEL_PREFIXES = {"segment": "seg.", "event": "ev."}
METRIC_HEADER = [
    f"{LEVEL_PREFIXES[level]} {METRIC_TITLES[metric]}" for level in LEVELS for metric in METRICS
]
PSEUDO_LABEL_TITLES = {
    "unmasked": "Pseudo-labels",
    "masked": "Pseudo-labels, masked (oracle)",
}
ORACLE_NOTE = "masked with the weak labels of the scored videos, which parsers never see"
HOW_CALIBRATED = (
    "Pseudo-label thresholds were calibrated on the event annotations of the validation split, so "
    "methods that use pseudo-labels also depend on these dense labels."
)
HOW_RELEASED = (
    "Masked pseudo-labels are those that were released with the features, used as they are."
)
HOW_DESCRIBED = (
    "Inputs: features the method uses; classic means VGGish, ResNet-152 and R(2+1)D. Protocol: "
    "segment predictions are gated by one video-level probability (gate g) or one per modality "
    "(gates p), followed by the threshold for gates and, unless given separately, for segments."
)

FiveScores = Annotated[list[float], Field(min_length=len(METRICS), max_length=len(METRICS))]


@dataclass(frozen=True)
class Score:
    """One score of a result table.

    Attributes
    ----------
    mean
        F1 in percent, averaged over seeds.
    std
        Sample standard deviation over seeds (N - 1 in the denominator); None for a single value.
    """

    mean: float
    std: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"


@dataclass(frozen=True)
class ResultRow:
    """One row of the result table.

    Attributes
    ----------
    name
        Display name.
    split
        Split that was scored.
    scores
        Level to metric to score.
    seeds
        Number of seeds; 0 for pseudo-labels.
    videos, total
        Number of videos scored, and in the split.
    inputs, protocol
        For parsers: the features they use, and how probabilities become events.
    note
        Note shown below the table.
    """

    name: str
    split: str
    scores: Mapping[str, Mapping[str, Score]]
    seeds: int
    videos: int
    total: int
    inputs: str = ""
    protocol: str = ""
    note: str = ""

    @property
    def cells(self) -> list[Score]:
        """All scores: the five metrics at segment level, then at event level."""
        return [self.scores[level][metric] for level in LEVELS for metric in METRICS]

    @property
    def coverage(self) -> str:
        """Videos scored / in the split."""
        return f"{self.videos}/{self.total}"


class PublishedRow(BaseModel):
    """A row of published.yaml, which documents the keys; scores are F1 in percent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    year: int | None
    inputs: str | None
    protocol: str
    segment: FiveScores
    event: FiveScores
    source: str
    note: str = ""

    @property
    def cells(self) -> list[Score]:
        """All scores: the five metrics at segment level, then at event level."""
        return [Score(value) for value in (*self.segment, *self.event)]


class _PublishedFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    methods: list[PublishedRow]


def read_published(path: Path) -> tuple[PublishedRow, ...]:
    """Read the published results.

    Raises
    ------
    PipelineError
        The file is missing or does not match the schema.
    """
    text = existing_file(path, "the published results").read_text(encoding="utf-8")
    try:
        return tuple(_PublishedFile.model_validate(yaml.safe_load(text)).methods)
    except (ValidationError, yaml.YAMLError) as error:
        raise PipelineError(
            f"'{path}' is not a valid table of published results: {error}"
        ) from None


def result_rows(artifacts: Artifacts, split: str) -> list[ResultRow]:
    """Return the rows of the pseudo-labels and of every method, averaged over seeds.

    Methods that were also scored with corrected annotations have a second one.
    """
    total = len(artifacts.split_names[split])
    rows = [
        replace(
            _row(title, split, [artifacts.quality[split][variant]], 0, total),
            note=ORACLE_NOTE if variant == "masked" else "",
        )
        for variant, title in PSEUDO_LABEL_TITLES.items()
        if variant in artifacts.quality[split]
    ]
    for parsers in artifacts.parsers.values():
        rows.append(parser_row(parsers, split, total))
        rows += corrected_rows(parsers, split, total)
    return rows


def parser_row(
    parsers: Sequence[TrainedParser], split: str, total: int, note: str = ""
) -> ResultRow:
    """Return the row of one method, averaged over its seeds.

    ``total`` is the number of videos in the split.
    """
    first = parsers[0]
    evaluations = [parser.evaluations[split] for parser in parsers]
    row = _row(first.display_name, split, evaluations, len(parsers), total)
    return replace(row, inputs=first.inputs, protocol=first.protocol, note=note)


def corrected_rows(parsers: Sequence[TrainedParser], split: str, total: int) -> list[ResultRow]:
    """Return the row of one method's scores with corrected annotations.

    There is none if no annotation of the split was corrected.
    """
    evaluations = [parser.evaluations[split].get("corrected") for parser in parsers]
    corrected = [evaluation for evaluation in evaluations if evaluation is not None]
    if len(corrected) < len(parsers) or not any(corrected[0]["replaced"].values()):
        return []
    name = f"{parsers[0].display_name}, corrected annotations"
    row = _row(name, split, corrected, len(parsers), total)
    return [replace(row, note=replaced_text(corrected[0]))]


def _row(
    name: str, split: str, evaluations: Sequence[Evaluation], seeds: int, total: int
) -> ResultRow:
    scores = {
        level: {
            metric: _score([evaluation["metrics"][level][metric] for evaluation in evaluations])
            for metric in METRICS
        }
        for level in LEVELS
    }
    videos = min(evaluation["videos"] for evaluation in evaluations)
    return ResultRow(name, split, scores, seeds, videos, total)


def _score(values: Sequence[float]) -> Score:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Score(float(np.mean(values)), std)


def markdown(rows: Sequence[ResultRow]) -> str:
    """Return the rows of one split as a Markdown table that is also aligned as plain text."""
    header = ["Method", "Seeds", "Videos", *METRIC_HEADER]
    body = [[row.name, str(row.seeds or "–"), row.coverage, *map(str, row.cells)] for row in rows]
    return aligned_markdown(header, body, text_columns=1)


def published_markdown(rows: Sequence[PublishedRow]) -> str:
    """Return published results as a Markdown table followed by their notes."""
    header = ["Method", "Inputs", "Protocol", "Source", "Year", *METRIC_HEADER]
    body = [
        [
            row.method,
            row.inputs or "–",
            row.protocol,
            row.source,
            str(row.year or "–"),
            *map(str, row.cells),
        ]
        for row in rows
    ]
    table = aligned_markdown(header, body, text_columns=4)
    return with_notes(table, [(row.method, row.note) for row in rows])


def with_notes(table: str, notes: Iterable[tuple[str, str]]) -> str:
    """Return a table followed by a list of its notes.

    ``notes`` are pairs of row name and note; empty notes are skipped.
    """
    lines = [f"- {name}: {note}." for name, note in notes if note]
    return "\n\n".join([table, *(["\n".join(lines)] if lines else [])])


def aligned_markdown(header: list[str], body: list[list[str]], text_columns: int) -> str:
    """Return a Markdown table aligned as plain text; the first ``text_columns`` align left."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = (
            cell.ljust(width) if index < text_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * width if index < text_columns else "-" * (width - 1) + ":"
        for index, width in enumerate(widths)
    )
    return "\n".join([line(header), line(rule), *map(line, body)])


def csv_table(rows: Iterable[ResultRow]) -> tuple[list[str], list[list[object]]]:
    """Return the header and unrounded values of the rows, for ``write_csv``."""
    header = ["method", "split", "seeds", "videos", "total", "note"]
    for level in LEVELS:
        for metric in METRICS:
            header += [f"{level}_{metric}_percent", f"{level}_{metric}_std"]
    body: list[list[object]] = []
    for row in rows:
        values = [value for cell in row.cells for value in (cell.mean, cell.std)]
        body.append([row.name, row.split, row.seeds, row.videos, row.total, row.note, *values])
    return header, body


def cell(value: float) -> float | None:
    """Return the value as a table cell: None if it is NaN."""
    return None if math.isnan(value) else float(value)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table atomically; None becomes an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
