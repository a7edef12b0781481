"""The status table of a folder of videos: what came of every video that was asked for."""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pipeline.core.errors import PipelineError, Status
from pipeline.core.files import write_tsv
from pipeline.data.download.options import Retry
from pipeline.data.download.responses import PERMANENT

HISTORY_FILE = "videos.status.tsv"


@dataclass(frozen=True)
class HistoryRow:
    """The last thing that is known of one video.

    Attributes
    ----------
    filename
        Whole name ``{id}_{start}_{end}``.
    status, detail
        What came of it, as a code and in the site's words.
    requests
        How often it was asked for in that run.
    time
        When, UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
    """

    filename: str
    status: Status
    detail: str
    requests: int
    time: str


class DownloadHistory:
    """The records of a folder, on disk after each one.

    It lies beside the videos, not among the results: what a site said stays known when results are
    deleted, and Snakemake removes the outputs of a job that is killed.

    Raises
    ------
    PipelineError
        The table is not of this form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = _read(path) if path.is_file() else {}

    def add(self, record: HistoryRow) -> None:
        """Put a record in its video's place and write the table, atomically."""
        self.records[record.filename] = record
        rows = [astuple(self.records[name]) for name in sorted(self.records)]
        write_tsv(self.path, [column.name for column in fields(HistoryRow)], rows)

    def is_due(self, filename: str, retry: Retry) -> bool:
        """Return whether a video that has no file is to be asked for.

        One that was never asked for is, and one whose file has gone since. Of the others,
        ``transient`` takes those whose status may change, ``all`` every one, ``none`` none.
        """
        record = self.records.get(filename)
        if record is None or record.status is Status.OK or retry == "all":
            return True
        return retry == "transient" and record.status not in PERMANENT


def _read(path: Path) -> dict[str, HistoryRow]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        return {
            row["filename"]: HistoryRow(
                row["filename"],
                Status(row["status"]),
                row["detail"],
                int(row["requests"]),
                row["time"],
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{path}' is not a status table of downloads ({error}); mend or delete it."
        ) from None
