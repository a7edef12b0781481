"""Published results, and how a run's own differ from them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.core.reading import read_yaml
from pipeline.core.validation import validated
from pipeline.evaluation.metrics import METRICS
from pipeline.parsers.released import RELEASED
from pipeline.report.tables import (
    ABSENT,
    METRIC_HEADER,
    ResultRow,
    Score,
    aligned_markdown,
    with_notes,
)
from pipeline.report.trained import PARTS

HOW_BESIDE = (
    "Mean over seeds of this run, and in brackets the published value and the difference in "
    "percentage points."
)
# Methods whose published results stand under other names.
PUBLISHED_AS: dict[str, tuple[str, ...]] = {
    "LINK, as printed": ("LINK",),
    "LEAP": ("LEAP (MM-Pyramid)",),
    "UWAV": ("UWAV", "UWAV (CLIP, CLAP)"),
}
PUBLISHED_AS |= {model.title: (model.display_name,) for model in RELEASED.values()}
# What published.yaml calls classic, in the notation of a parser's inputs.
CLASSIC_INPUTS = "VGGish, ResNet-152, R(2+1)D"
NOT_SAID = "not said"

FiveScores = Annotated[list[float], Field(min_length=len(METRICS), max_length=len(METRICS))]


class PublishedRow(BaseModel):
    """A row of published.yaml, which documents the keys; scores are F1 in percent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    year: int | None
    inputs: str | None
    labels: str = NOT_SAID
    protocol: str
    segment: FiveScores | None
    event: FiveScores | None
    source: str | None
    note: str = ""

    @property
    def cells(self) -> list[Score]:
        """All scores, NaN if not known: the five metrics at segment, then at event level."""
        unknown = [math.nan] * len(METRICS)
        return [Score(value) for value in (*(self.segment or unknown), *(self.event or unknown))]

    @model_validator(mode="after")
    def _check_source(self) -> "PublishedRow":
        if self.source is None and (self.segment or self.event):
            raise ValueError(f"the scores of {self.method} need a source")
        return self


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
    values = read_yaml(path, "the published results")
    return tuple(validated(_PublishedFile, values, "key", f"'{path}': ").methods)


def published_markdown(rows: Sequence[PublishedRow]) -> str:
    """Return published results as a Markdown table followed by their notes."""
    header = ["Method", "Inputs", "Labels", "Protocol", "Source", "Year", *METRIC_HEADER]
    body = [
        [
            row.method,
            row.inputs or ABSENT,
            row.labels,
            row.protocol,
            row.source or ABSENT,
            str(row.year or ABSENT),
            *map(str, row.cells),
        ]
        for row in rows
    ]
    table = aligned_markdown(header, body, text_columns=5)
    return with_notes(table, [(row.method, row.note) for row in rows])


def counterpart(row: ResultRow, published: Iterable[PublishedRow]) -> PublishedRow | None:
    """Return the published result of a method, with the same inputs if there are several.

    A method that implements only a part of a published one has none.
    """
    names = PUBLISHED_AS.get(row.name, (row.name,))
    works = [work for work in published if work.method in names]
    same_inputs = [work for work in works if _inputs(work) == row.inputs]
    return next(iter([*same_inputs, *works]), None)


def published_differences(rows: Iterable[ResultRow], published: Iterable[PublishedRow]) -> str:
    """Return a table of the methods that have published results, and what differs from those.

    A method that implements only a part of a published one stands beside it, which the table says.
    The table is empty if there are none.
    """
    works = {work.method: work for work in published}
    body = []
    for row in rows:
        part = PARTS.get(row.name)
        work = works.get(part.method) if part else counterpart(row, works.values())
        if work is None:
            continue
        differs = [part.note] if part else []
        differs += _what_differs(row, work)
        source = work.source or ABSENT
        cells = map(_beside, row.cells, work.cells)
        body.append([row.name, work.method, source, "; ".join(differs) or ABSENT, *cells])
    header = ["Method", "Published as", "Source", "What differs", *METRIC_HEADER]
    return aligned_markdown(header, body, text_columns=4) if body else ""


def _beside(own: Score, theirs: Score) -> str:
    gap = f", {own.mean - theirs.mean:+.1f}" if theirs.is_known else ""
    return f"{own.value} ({theirs.value}{gap})"


def _what_differs(row: ResultRow, work: PublishedRow) -> Iterator[str]:
    """Yield what a row of this run and a published one do not share."""
    if row.inputs != _inputs(work):
        yield f"inputs {row.inputs}, published {_inputs(work)}"
    if work.labels not in (row.labels, NOT_SAID):
        yield f"labels {row.labels}, published {work.labels}"
    if work.protocol not in (row.protocol, NOT_SAID):
        yield f"protocol {row.protocol}, published {work.protocol}"
    if row.videos < row.total:
        yield f"{row.coverage} videos"
    if row.seeds > 1:
        yield f"mean of {row.seeds} seeds"


def _inputs(work: PublishedRow) -> str:
    return CLASSIC_INPUTS if work.inputs == "classic" else work.inputs or NOT_SAID
