"""The leaderboard: methods of this run and published results in one order, and their tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.report.comparison.standings import SCORE_ROWS, TYPE_ROWS, Standing
from pipeline.report.published import NOT_SAID, PublishedRow
from pipeline.report.significance import RESAMPLES, RankInterval, Tested
from pipeline.report.tables import (
    ABSENT,
    LEVEL_PREFIXES,
    METRIC_HEADER,
    Score,
    aligned_markdown,
    best_of_columns,
    cell,
    marked_texts,
    rounded,
    with_notes,
)

THIS_RUN = "this run"
HOW_RANKED = (
    f"Ranks and letters are from one bootstrap of {RESAMPLES:,} resamples, which draws videos, the "
    "same ones for all methods, and the seeds of each method; a method with one seed has no "
    "variation over seeds. Rank: mean and 95% interval of the rank by Type@AV; 1 is best. Letters: "
    "methods with a letter in common do not differ significantly in this metric (two-sided, 5% "
    "level after Holm's correction for {pairs}). compare_pairs.csv has every pair."
)


@dataclass(frozen=True)
class Place:
    """Place of a method among the others by Type@AV at one level."""

    letters: str
    rank: RankInterval


@dataclass(frozen=True)
class BoardRow:
    """One row of the leaderboard.

    Attributes
    ----------
    name, inputs, labels, protocol, source
        Its text columns.
    cells
        The five metrics at segment level, then at event level.
    note
        Note shown below the table.
    standing
        The results that it shows; None for a published one.
    places
        Level to its place; empty for a published one.
    """

    name: str
    inputs: str
    labels: str
    protocol: str
    source: str
    cells: Sequence[Score]
    note: str
    standing: Standing | None = None
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def segment_type(self) -> Score:
        """Segment-level Type@AV."""
        return self.cells[TYPE_ROWS["segment"]]

    @property
    def full_name(self) -> str:
        """Its name and, if it is known, its source."""
        return self.name if self.source == ABSENT else f"{self.name} ({self.source})"


def board_rows(
    standings: Iterable[Standing],
    tested: Tested,
    published: Iterable[PublishedRow] = (),
) -> list[BoardRow]:
    """Return all rows by segment-level Type@AV, best first and unknown ones last."""
    rows = [_own_row(each, _places(tested, index)) for index, each in enumerate(standings)]
    rows += [_published_row(work) for work in published]
    return sorted(rows, key=lambda row: -row.segment_type.mean if row.segment_type.is_known else 0)


def _places(tested: Tested, index: int) -> dict[str, Place]:
    return {
        level: Place(tested[level, "type"].letters[index], tested[level, "type"].ranks[index])
        for level in TYPE_ROWS
    }


def _own_row(standing: Standing, places: Mapping[str, Place]) -> BoardRow:
    row = standing.row
    texts = (row.name, row.inputs, row.labels, row.protocol, THIS_RUN)
    return BoardRow(*texts, row.cells, row.note, standing, places)


def _published_row(work: PublishedRow) -> BoardRow:
    texts = (work.method, work.inputs or NOT_SAID, work.labels, work.protocol)
    return BoardRow(*texts, work.source or ABSENT, work.cells, work.note)


def leaderboard(rows: Sequence[BoardRow]) -> str:
    """Return the leaderboard as a Markdown table."""
    header = ["Method", "Inputs", "Labels", "Protocol", "Source", "Selected by", "Val. Type"]
    header += ["Seeds", "Videos", "Parameters", "Training", *METRIC_HEADER]
    body = []
    for row, marks in zip(rows, best_of_columns([row.cells for row in rows]), strict=True):
        texts = (row.name, row.inputs, row.labels, row.protocol, row.source)
        scores = marked_texts(row.cells, marks)
        body.append([*texts, *_training_cells(row.standing), *scores])
    table = aligned_markdown(header, body, text_columns=6)
    return with_notes(table, [(row.full_name, row.note) for row in rows])


def _training_cells(standing: Standing | None) -> list[str]:
    """Return how a method was trained: the cells from "Selected by" to "Training"."""
    if standing is None:
        return [ABSENT] * 6
    types = (rounded(standing.selected_type), rounded(standing.best_type))
    return [
        standing.selected_by,
        ABSENT if ABSENT in types else " / ".join(types),
        str(standing.row.seeds),
        standing.row.coverage,
        megas(standing.parameters),
        wall_time(standing.seconds),
    ]


def rank_table(rows: Iterable[BoardRow]) -> str:
    """Return Type@AV of this run's methods with their letters and ranks, as a Markdown table."""
    header = ["Method", "Videos"]
    for level in TYPE_ROWS:
        prefix = LEVEL_PREFIXES[level]
        header += [f"{prefix} Type", f"{prefix} letters", f"{prefix} rank"]
    body = []
    for row, standing in ((row, row.standing) for row in rows if row.standing):
        cells = [row.name, standing.row.coverage]
        for level, place in row.places.items():
            cells += [str(row.cells[TYPE_ROWS[level]]), place.letters, str(place.rank)]
        body.append(cells)
    return aligned_markdown(header, body, text_columns=1)


def interval_table(standings: Iterable[Standing]) -> str:
    """Return the intervals of all metrics as a Markdown table."""
    body = [
        [
            standing.row.name,
            standing.row.coverage,
            *(interval_text(low, high) for low, high in standing.intervals()),
        ]
        for standing in standings
    ]
    return aligned_markdown(["Method", "Videos", *METRIC_HEADER], body, text_columns=1)


def board_csv(
    standings: Iterable[Standing], tested: Tested
) -> tuple[list[str], list[list[object]]]:
    """Return the columns that compare.csv adds to those of the result table, unrounded."""
    header = ["inputs", "protocol", "selected_by"]
    header += ["val_segment_type_selected", "val_segment_type_best"]
    header += ["parameters", "training_seconds"]
    for level, metric in SCORE_ROWS:
        header += [f"{level}_{metric}_low", f"{level}_{metric}_high"]
    for level in TYPE_ROWS:
        names = ("letters", "rank", "rank_low", "rank_high")
        header += [f"{level}_type_{name}" for name in names]
    rows: list[list[object]] = []
    for index, standing in enumerate(standings):
        cells: list[object] = [standing.row.inputs, standing.row.protocol, standing.selected_by]
        cells += [cell(standing.selected_type), cell(standing.best_type)]
        cells += [standing.parameters, standing.seconds]
        cells += [end for interval in standing.intervals() for end in interval]
        for place in _places(tested, index).values():
            cells += [place.letters, place.rank.mean, place.rank.low, place.rank.high]
        rows.append(cells)
    return header, rows


def megas(parameters: int) -> str:
    """Return a number of parameters in millions."""
    return f"{parameters / 1e6:.2f} M"


def wall_time(seconds: float | None) -> str:
    """Return a training time, or a dash if it is not known."""
    return ABSENT if seconds is None else f"{seconds:.0f} s"


def interval_text(low: float, high: float) -> str:
    """Return an interval as text."""
    return f"[{low:.1f}, {high:.1f}]"
