"""Data quality: the status of every video, and the findings of the annotation checks."""

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
        Name and split; the split is empty if no table lists the video.
    status, detail
        Reason, as a status code and as text.
    """

    filename: str
    split: str
    status: str
    detail: str


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind in one annotation table.

    Attributes
    ----------
    kind, table
        Kind of the findings, and the table.
    count
        Number of findings.
    example
        Video and detail of the first one.
    """

    kind: str
    table: str
    count: int
    example: tuple[str, str]


@dataclass(frozen=True)
class DataQuality:
    """Data quality as shown in the report.

    Attributes
    ----------
    counts
        Tuples of status, kept videos and left-out videos; ``ok`` first, then by frequency.
    by_split
        Tuples of split, kept videos and all videos.
    left_out
        Videos that could not be used, by name.
    """

    counts: tuple[tuple[str, int, int], ...]
    by_split: tuple[tuple[str, int, int], ...]
    left_out: tuple[LeftOut, ...]


def data_quality(artifacts: Artifacts) -> DataQuality:
    """Return the data quality of a run; each video counts once, with its worst status."""
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
    """Return the worst row of each video, sorted by name.

    Left out is worse than kept, and any other status is worse than ``ok``.
    """
    worst: dict[str, StatusRow] = {}
    for row in rows:
        known = worst.get(row.filename)
        if known is None or _severity(row) > _severity(known):
            worst[row.filename] = row
    return [worst[name] for name in sorted(worst)]


def with_downloads(rows: Sequence[StatusRow], videos: Path | None) -> list[StatusRow]:
    """Return the rows, with the download result as the reason of missing videos."""
    if videos is None or not (history := DownloadHistory(videos / HISTORY_FILE)).records:
        return list(rows)
    explained = []
    for row in rows:
        if row.status is Status.MISSING:
            status, detail = why_missing(row.filename, row.detail, history)
            row = replace(row, status=status, detail=detail)
        explained.append(row)
    return explained


def _severity(row: StatusRow) -> tuple[bool, bool]:
    return not row.kept, row.status != Status.OK


def read_findings(path: Path | None) -> list[FindingGroup]:
    """Read the table of annotation checks (kind, table, filename, detail), grouped in its order."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in read_tsv(path) if path else ():
        groups.setdefault((row["kind"], row["table"]), []).append((row["filename"], row["detail"]))
    return [FindingGroup(kind, table, len(rows), rows[0]) for (kind, table), rows in groups.items()]
