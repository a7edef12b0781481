"""Data quality: what became of every video, and what is odd in the annotation tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.errors import Status
from pipeline.core.shards import StatusRow, read_status
from pipeline.data.download.coverage import why_missing
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory
from pipeline.report.artifacts import Artifacts, read_tsv


@dataclass(frozen=True)
class LeftOut:
    """A video that could not be used.

    Attributes
    ----------
    filename, split
        Which one; the split is empty for a video of no table.
    status, detail
        Why, as a code and as a sentence.
    """

    filename: str
    split: str
    status: str
    detail: str


@dataclass(frozen=True)
class Oddity:
    """One kind of oddity in one annotation table.

    Attributes
    ----------
    kind, table
        What and where.
    count
        How often.
    examples
        Its first rows: video and detail.
    """

    kind: str
    table: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DataQuality:
    """What the report says of the data.

    Attributes
    ----------
    counts
        Status, kept and left-out videos; ``ok`` first, then the most frequent.
    by_split
        Split, kept videos, all videos.
    left_out
        Videos that could not be used, by split and name.
    """

    counts: tuple[tuple[str, int, int], ...]
    by_split: tuple[tuple[str, int, int], ...]
    left_out: tuple[LeftOut, ...]


def data_quality(artifacts: Artifacts) -> DataQuality:
    """Count every video once, by its worst row over all status tables."""
    rows = worst_rows(row for path in artifacts.sources.statuses for row in read_status(path))
    rows = with_downloads(rows, artifacts.sources.videos)
    split_of = {name: split for split, names in artifacts.split_names.items() for name in names}
    kept, left_out = (
        Counter(row.status for row in rows if row.kept is wanted) for wanted in (True, False)
    )
    statuses = sorted(
        {*kept, *left_out},
        key=lambda status: (status != Status.OK, -kept[status] - left_out[status], status),
    )
    return DataQuality(
        counts=tuple((str(status), kept[status], left_out[status]) for status in statuses),
        by_split=tuple(
            (
                split,
                sum(row.kept and split_of.get(row.filename) == split for row in rows),
                len(names),
            )
            for split, names in artifacts.split_names.items()
        ),
        left_out=tuple(
            LeftOut(row.filename, split_of.get(row.filename, ""), str(row.status), row.detail)
            for row in rows
            if not row.kept
        ),
    )


def worst_rows(rows: Iterable[StatusRow]) -> list[StatusRow]:
    """Return one row a video, sorted by name: left out before kept, any code before ``ok``."""
    worst: dict[str, StatusRow] = {}
    for row in rows:
        known = worst.get(row.filename)
        if known is None or _severity(row) > _severity(known):
            worst[row.filename] = row
    return [worst[name] for name in sorted(worst)]


def with_downloads(rows: Sequence[StatusRow], videos: Path | None) -> list[StatusRow]:
    """Return the rows, of a missing video with what its download met."""
    if videos is None or not (ledger := DownloadHistory(videos / HISTORY_FILE)).records:
        return list(rows)
    explained = []
    for row in rows:
        if row.status is Status.MISSING:
            status, detail = why_missing(row.filename, ledger)
            row = replace(row, status=status, detail=detail)
        explained.append(row)
    return explained


def _severity(row: StatusRow) -> tuple[bool, bool]:
    return not row.kept, row.status != Status.OK


def read_oddities(path: Path | None, examples: int = 1) -> list[Oddity]:
    """Read the annotations' check table (kind, table, filename, detail), in its order of kinds."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in read_tsv(path) if path else ():
        groups.setdefault((row["kind"], row["table"]), []).append((row["filename"], row["detail"]))
    return [
        Oddity(kind, table, len(rows), tuple(rows[:examples]))
        for (kind, table), rows in groups.items()
    ]
