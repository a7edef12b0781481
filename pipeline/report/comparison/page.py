"""The page of a comparison: a leaderboard that sorts and filters, and plots of its intervals."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core import html as pages
from pipeline.core.files import write_text
from pipeline.report.comparison.leaderboard import BoardRow, Place, interval_text, megas, wall_time
from pipeline.report.comparison.plots import interval_plots
from pipeline.report.comparison.standings import SCORE_ROWS, Standing
from pipeline.report.drawing import drawing
from pipeline.report.published import PublishedRow, counterpart
from pipeline.report.tables import (
    ABSENT,
    LEVEL_PREFIXES,
    METRIC_HEADER,
    Score,
    best_of_columns,
    rounded,
)

_HERE = Path(__file__).parent
COMPARE_PAGE = "compare.html"
# Sets of columns that the page shows.
VIEWS = {"overview": "Overview", "scores": "All scores", "training": "Training and protocol"}


@dataclass(frozen=True)
class ComparisonTexts:
    """Texts of the page.

    Attributes
    ----------
    title
        What it shows, the dataset and the date.
    notice
        What must be said of the encoders; empty if nothing must.
    captions
        How the numbers were made.
    encoders
        Name and description of each encoder.
    """

    title: str
    notice: str
    captions: Sequence[str]
    encoders: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BoardColumn:
    """A column of the leaderboard.

    Attributes
    ----------
    title
        Its header.
    views
        Keys of ``VIEWS`` that show it, separated by spaces.
    is_text
        Whether it is sorted as text.
    is_ascending
        Whether the first click sorts it upwards.
    """

    title: str
    views: str
    is_text: bool = False
    is_ascending: bool = False


@dataclass(frozen=True)
class BoardCell:
    """A cell of the leaderboard.

    Attributes
    ----------
    text
        What it shows.
    value
        What a column of numbers is sorted by; None sorts last.
    detail, interval
        Text after and below it, in smaller type.
    is_best
        Whether it is the best of its column.
    """

    text: str
    value: float | None = None
    detail: str = ""
    interval: str = ""
    is_best: bool = False


NO_CELL = BoardCell(ABSENT)


def write_compare_page(
    rows: Sequence[BoardRow],
    beside: Sequence[PublishedRow],
    texts: ComparisonTexts,
    out: Path,
) -> None:
    """Write compare.html, and its plots as SVG with their data as CSV.

    Parameters
    ----------
    rows
        Rows of the leaderboard, best first.
    beside
        The published results among ``rows``.
    texts
        Texts of the page.
    out
        Output folder.
    """
    plots = interval_plots(rows, _published_scores(rows, beside))
    for plot in plots:
        plot.write(out)
    columns = list(board_columns(has_published=bool(beside)))
    script, script_hash = pages.script_and_hash(_HERE.parent / "tables.js", _HERE / "page.js")
    context = {
        "texts": texts,
        "views": VIEWS,
        "columns": columns,
        "rows": [
            (row, list(zip(columns, board_cells(row, marks), strict=True)))
            for row, marks in zip(rows, best_of_columns([row.cells for row in rows]), strict=True)
        ],
        "inputs": sorted({row.inputs for row in rows}),
        "labels": sorted({row.labels for row in rows}),
        "has_published": bool(beside),
        "plots": plots,
        "style": pages.style(_HERE / "page.css"),
        "script": script,
        "script_hash": script_hash,
    }
    page = pages.render(_HERE / "page.html.j2", context, drawing=drawing)
    write_text(out / COMPARE_PAGE, page)


def _published_scores(
    rows: Sequence[BoardRow], published: Sequence[PublishedRow]
) -> dict[str, list[float]]:
    """Return the known published scores of this run's methods, by name."""
    own = [row.standing.row for row in rows if row.standing]
    works = {row.name: work for row in own if (work := counterpart(row, published))}
    return {
        name: [score.mean for score in work.cells]
        for name, work in works.items()
        if all(score.is_known for score in work.cells)
    }


def board_columns(has_published: bool) -> Iterator[BoardColumn]:
    """Yield the columns of the leaderboard, in the order of ``board_cells``.

    Without published results, no view shows the source, which is the same everywhere.
    """
    yield BoardColumn("Method", " ".join(VIEWS), is_text=True)
    yield BoardColumn("Source", " ".join(VIEWS) if has_published else "", is_text=True)
    for (level, metric), title in zip(SCORE_ROWS, METRIC_HEADER, strict=True):
        if metric == "type":
            yield BoardColumn(title, "overview scores")
            yield BoardColumn(f"{LEVEL_PREFIXES[level]} letters", "overview", is_text=True)
            yield BoardColumn(f"{LEVEL_PREFIXES[level]} rank", "overview", is_ascending=True)
        else:
            yield BoardColumn(title, "scores")
    yield BoardColumn("Inputs", "overview training", is_text=True)
    yield BoardColumn("Labels", "overview training", is_text=True)
    for title in ("Protocol", "Selected by"):
        yield BoardColumn(title, "training", is_text=True)
    for title in ("Val. Type", "Val. best", "Seeds", "Videos", "Parameters", "Training"):
        yield BoardColumn(title, "training")


def board_cells(row: BoardRow, marks: Sequence[bool]) -> Iterator[BoardCell]:
    """Yield the cells of a row, in the order of ``board_columns``.

    ``marks`` are true for the scores that are the best of their columns.
    """
    yield BoardCell(row.name)
    yield BoardCell(row.source)
    intervals = row.standing.intervals() if row.standing else [None] * len(SCORE_ROWS)
    scores = zip(SCORE_ROWS, row.cells, intervals, marks, strict=True)
    for (level, metric), score, interval, is_best in scores:
        yield replace(_score_cell(score, interval), is_best=is_best)
        if metric == "type":
            yield from _place_cells(row.places.get(level))
    for text in (row.inputs, row.labels, row.protocol):
        yield BoardCell(text)
    yield from _training_cells(row.standing) if row.standing else [NO_CELL] * 7


def _score_cell(score: Score, interval: Sequence[float] | None) -> BoardCell:
    if not score.is_known:
        return NO_CELL
    detail = "" if score.std is None else f"± {score.std:.1f}"
    return BoardCell(score.value, score.mean, detail, interval_text(*interval) if interval else "")


def _place_cells(place: Place | None) -> Iterator[BoardCell]:
    """Yield the letters and the rank of a method at one level."""
    if place is None:
        yield from (NO_CELL, NO_CELL)
        return
    yield BoardCell(place.letters)
    yield BoardCell(f"{place.rank.mean:.1f}", place.rank.mean, place.rank.interval)


def _training_cells(standing: Standing) -> Iterator[BoardCell]:
    row = standing.row
    yield BoardCell(standing.selected_by)
    for value in (standing.selected_type, standing.best_type):
        yield NO_CELL if math.isnan(value) else BoardCell(rounded(value), value)
    yield BoardCell(str(row.seeds), row.seeds)
    yield BoardCell(row.coverage, row.videos)
    yield BoardCell(megas(standing.parameters), standing.parameters)
    yield BoardCell(wall_time(standing.seconds), standing.seconds)
