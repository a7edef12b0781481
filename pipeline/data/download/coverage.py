"""Coverage of a video folder: which videos are missing and why, and how many each split has."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pipeline.core.errors import Status
from pipeline.core.files import write_tsv
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory
from pipeline.data.manifest import ManifestRow

GONE = "it was downloaded, but its file no longer exists"


@dataclass(frozen=True)
class Missing:
    """A video of the tables without a file.

    Attributes
    ----------
    filename, split
        Name and split.
    status, detail
        Reason: ``missing``, or the outcome of its download.
    """

    filename: str
    split: str
    status: Status
    detail: str


@dataclass(frozen=True)
class Coverage:
    """Number of available videos of a split.

    Attributes
    ----------
    split
        ``train``, ``val`` or ``test``.
    videos, total
        Videos with a file, and videos in the split's table.
    missing
        Status to number of videos, most frequent first.
    """

    split: str
    videos: int
    total: int
    missing: dict[Status, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{status} {count}" for status, count in self.missing.items())
        return f"{self.split:5} {self.videos}/{self.total} videos" + f"; {reasons}" * bool(reasons)


def write_coverage(rows: Sequence[ManifestRow], videos: Path, out: Path) -> list[Coverage]:
    """Write missing.tsv and coverage.tsv, and return each split's coverage.

    Parameters
    ----------
    rows
        The videos of the tables, from ``manifest.list_videos``.
    videos
        Their folder; it may have a table of downloads.
    out
        Output folder.
    """
    missing = list_missing(rows, DownloadHistory(videos / HISTORY_FILE))
    totals = Counter(row.split for row in rows)
    lacking = Counter(video.split for video in missing)
    coverage = [
        Coverage(
            split,
            total - lacking[split],
            total,
            dict(Counter(row.status for row in missing if row.split == split).most_common()),
        )
        for split, total in totals.items()
    ]
    header = [column.name for column in fields(Missing)]
    write_tsv(out / "missing.tsv", header, (astuple(video) for video in missing))
    write_tsv(
        out / "coverage.tsv",
        ["split", "videos", "total"],
        ((each.split, each.videos, each.total) for each in coverage),
    )
    return coverage


def list_missing(rows: Sequence[ManifestRow], history: DownloadHistory) -> list[Missing]:
    """Return the videos without a file in table order, each with the reason."""
    missing = []
    for row in (row for row in rows if not row.path):
        status, detail = why_missing(row.filename, row.note, history)
        missing.append(Missing(row.filename, row.split, status, detail))
    return missing


def why_missing(filename: str, note: str, history: DownloadHistory) -> tuple[Status, str]:
    """Return why a video has no file: ``missing`` with a note, or the outcome of its download."""
    record = history.records.get(filename)
    if record is None:
        return Status.MISSING, f"{note}; it was never requested"
    if record.status is Status.OK:
        return Status.MISSING, GONE
    return record.status, record.detail
