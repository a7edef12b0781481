"""Result tables: parsers and pseudo-labels of this run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.evaluation.evaluate import replaced_text
from pipeline.evaluation.metrics import LEVELS, METRICS
from pipeline.report.artifacts import (
    Artifacts,
    are_calibrated,
    are_released,
    are_taught,
    dense_labels,
)
from pipeline.report.trained import PARTS, Evaluation, TrainedParser

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
HOW_TAUGHT = (
    "Masked and soft pseudo-labels are those of a teacher that was trained on a densely labelled "
    "dataset; its thresholds were chosen on the event annotations of the validation split."
)
HOW_RELEASED = (
    "Masked pseudo-labels are those that were released with the features, used as they are."
)
HOW_MARKED = "Bold: the best of each column, to the decimal shown."
HOW_LABELLED = (
    'Labels: what a method learns from; after "also", dense labels or other data that it also uses.'
)
HOW_DESCRIBED = (
    "Inputs: features the method uses; classic means VGGish, ResNet-152 and R(2+1)D. Protocol: "
    "segment predictions are gated by one video-level probability (gate g) or one per modality "
    "(gates p), followed by the threshold for gates and, unless given separately, for segments. "
    f"{HOW_LABELLED}"
)

ABSENT = "–"  # a value that is not known, or does not exist


@dataclass(frozen=True)
class Score:
    """One score of a result table.

    Attributes
    ----------
    mean
        F1 in percent, averaged over seeds; NaN if it is not known.
    std
        Sample standard deviation over seeds (N - 1 in the denominator); None for a single value.
    """

    mean: float
    std: float | None = None

    def __str__(self) -> str:
        return self.value if self.std is None else f"{self.value} ± {self.std:.1f}"

    def marked(self, is_best: bool) -> str:
        """Return the score as Markdown, bold if it is the best of its column."""
        return f"**{self}**" if is_best else str(self)

    @property
    def is_known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.mean)

    @property
    def value(self) -> str:
        """The mean as text."""
        return rounded(self.mean)


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
    labels
        What it learns from.
    inputs, protocol
        For parsers: the features they use, and how probabilities become events.
    note
        Note shown below the table.
    is_ranked
        Whether it competes for the best of a column: not if it has help that the others lack.
    """

    name: str
    split: str
    scores: Mapping[str, Mapping[str, Score]]
    seeds: int
    videos: int
    total: int
    labels: str = ABSENT
    inputs: str = ""
    protocol: str = ""
    note: str = ""
    is_ranked: bool = True

    @property
    def cells(self) -> list[Score]:
        """All scores: the five metrics at segment level, then at event level."""
        return [self.scores[level][metric] for level in LEVELS for metric in METRICS]

    @property
    def coverage(self) -> str:
        """Videos scored / in the split."""
        return f"{self.videos}/{self.total}"


def how_labelled(meta: Mapping[str, str]) -> list[str]:
    """Return what must be known of pseudo-labels, from their metadata, to read the results."""
    sentences = {
        HOW_CALIBRATED: are_calibrated(meta),
        HOW_TAUGHT: are_taught(meta),
        HOW_RELEASED: are_released(meta),
    }
    return [sentence for sentence, is_true in sentences.items() if is_true]


def result_rows(artifacts: Artifacts, split: str) -> list[ResultRow]:
    """Return the rows of the pseudo-labels and of every method, averaged over seeds.

    Methods that were also scored with corrected annotations have a second one.
    """
    total = len(artifacts.split_names[split])
    rows = [
        replace(
            _row(title, split, [artifacts.quality[split][variant]], 0, total),
            labels=_labels_of_pseudo_labels(variant, artifacts.labels.meta),
            note=ORACLE_NOTE if variant == "masked" else "",
            is_ranked=variant != "masked",
        )
        for variant, title in PSEUDO_LABEL_TITLES.items()
        if variant in artifacts.quality[split]
    ]
    for parsers in artifacts.parsers.values():
        row = parser_row(parsers, split, total, dense=dense_labels(artifacts.labels.meta))
        rows += [row, *corrected_rows(row, parsers)]
    return rows


def _labels_of_pseudo_labels(variant: str, meta: Mapping[str, str]) -> str:
    """Return the labels that pseudo-labels of a variant rest on."""
    are_masked = variant == "masked"
    dense = ", ".join(dense_labels(meta, are_masked))
    mask = "weak labels of the scored videos" if are_masked else "none"
    return f"{mask}; also {dense}" if dense else mask


def parser_row(
    parsers: Sequence[TrainedParser],
    split: str,
    total: int,
    note: str = "",
    dense: Sequence[str] = (),
) -> ResultRow:
    """Return the row of one method, averaged over its seeds.

    Parameters
    ----------
    parsers
        Its seeds.
    split, total
        Split, and number of its videos.
    note
        Note shown below the table.
    dense
        Dense labels that the run's pseudo-labels rest on (``artifacts.dense_labels``).
    """
    first = parsers[0]
    evaluations = [parser.evaluations[split] for parser in parsers]
    row = _row(first.display_name, split, evaluations, len(parsers), total)
    part = PARTS.get(first.display_name)
    return replace(
        row,
        labels=first.labels(dense),
        inputs=first.inputs,
        protocol=first.protocol,
        note="; ".join(filter(None, [part.note if part else "", note])),
    )


def corrected_rows(row: ResultRow, parsers: Sequence[TrainedParser]) -> list[ResultRow]:
    """Return the row of one method's scores with corrected annotations, from its first row.

    There is none if no annotation of the split was corrected.
    """
    evaluations = [parser.evaluations[row.split].get("corrected") for parser in parsers]
    corrected = [evaluation for evaluation in evaluations if evaluation is not None]
    if len(corrected) < len(parsers) or not any(corrected[0]["replaced"].values()):
        return []
    name = f"{row.name}, corrected annotations"
    scored = _row(name, row.split, corrected, row.seeds, row.total)
    return [replace(scored, labels=row.labels, note=replaced_text(corrected[0]), is_ranked=False)]


def best_of_columns(rows: Sequence[Sequence[Score]]) -> list[list[bool]]:
    """Return which scores are the best of their column, to the decimal that is shown.

    Ties share the mark. A single row has no mark.
    """
    columns = zip(*rows, strict=True)
    known = [[float(score.value) for score in column if score.is_known] for column in columns]
    best = [max(column) if len(column) > 1 else None for column in known]
    return [
        [score.is_known and float(score.value) == top for score, top in zip(row, best, strict=True)]
        for row in rows
    ]


def marked_rows(rows: Sequence[ResultRow]) -> list[list[bool]]:
    """Return which cells of result rows are the best among those that compete."""
    marks = iter(best_of_columns([row.cells for row in rows if row.is_ranked]))
    return [next(marks) if row.is_ranked else [False] * len(row.cells) for row in rows]


def marked_texts(cells: Sequence[Score], marks: Sequence[bool]) -> list[str]:
    """Return a row of scores as Markdown, with the best of their columns in bold."""
    return [score.marked(is_best) for score, is_best in zip(cells, marks, strict=True)]


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
    header = ["Method", "Labels", "Seeds", "Videos", *METRIC_HEADER]
    body = [
        [
            row.name,
            row.labels,
            str(row.seeds or ABSENT),
            row.coverage,
            *marked_texts(row.cells, marks),
        ]
        for row, marks in zip(rows, marked_rows(rows), strict=True)
    ]
    return aligned_markdown(header, body, text_columns=2)


def screen_table(rows: Sequence[ResultRow]) -> str:
    """Return the rows of one split for a terminal: one block per level, under 100 columns wide."""
    names = [row.name for row in rows]
    width = max(map(len, [*names, "segment level"]))
    lines = [f"F1 in percent on {rows[0].split}, {rows[0].coverage} videos", ""]
    for index, level in enumerate(LEVELS):
        of_level = slice(index * len(METRICS), (index + 1) * len(METRICS))
        scores = [[str(score) for score in row.cells[of_level]] for row in rows]
        header = [METRIC_TITLES[metric] for metric in METRICS]
        for name, cells in zip([f"{level} level", *names], [header, *scores], strict=True):
            lines.append(f"{name:{width}}" + "".join(f"{cell:>12}" for cell in cells))
        lines.append("")
    return "\n".join(lines[:-1])


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


def csv_table(rows: Iterable[ResultRow], notice: str = "") -> tuple[list[str], list[list[object]]]:
    """Return the header and unrounded values of the rows, for ``write_csv``.

    ``notice`` is what every row's note begins with.
    """
    header = ["method", "split", "seeds", "videos", "total", "note", "labels"]
    for level in LEVELS:
        for metric in METRICS:
            header += [f"{level}_{metric}_percent", f"{level}_{metric}_std"]
    body: list[list[object]] = []
    for row in rows:
        values = [value for cell in row.cells for value in (cell.mean, cell.std)]
        note = " ".join(filter(None, [notice, row.note]))
        described = [row.name, row.split, row.seeds, row.videos, row.total, note, row.labels]
        body.append([*described, *values])
    return header, body


def cell(value: float) -> float | None:
    """Return the value as a table cell: None if it is NaN."""
    return None if math.isnan(value) else float(value)


def rounded(value: float) -> str:
    """Return a number with one decimal, or a dash for NaN."""
    return ABSENT if math.isnan(value) else f"{value:.1f}"
