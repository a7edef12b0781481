"""The download history of a video folder: the last outcome for every requested video."""

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
    """The last known outcome for one video.

    Attributes
    ----------
    filename
        Full video name, ``{id}_{start}_{end}``.
    status, detail
        Outcome, as a code and in the site's words.
    requests
        Number of requests in that run.
    time
        Time of the outcome, UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
    """

    filename: str
    status: Status
    detail: str
    requests: int
    time: str


class DownloadHistory:
    """The download history of a folder; every change is written to disk at once.

    The table is kept beside the videos rather than with the results: it outlives the results, and
    Snakemake deletes the outputs of jobs that are killed.

    Raises
    ------
    PipelineError
        The table is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = _read(path) if path.is_file() else {}

    def add(self, record: HistoryRow) -> None:
        """Set the record of a video and write the table, atomically."""
        self.records[record.filename] = record
        rows = [astuple(self.records[name]) for name in sorted(self.records)]
        write_tsv(self.path, [column.name for column in fields(HistoryRow)], rows)

    def is_due(self, filename: str, retry: Retry) -> bool:
        """Return whether to request a video that has no file.

        Videos that were never requested, or whose file has disappeared, are always due. For the
        others, ``transient`` retries statuses that may change, ``all`` every one, ``none`` none.
        """
        record = self.records.get(filename)
        if record is None or record.status is Status.OK or retry == "all":
            return True
        return retry == "transient" and record.status not in PERMANENT


def _read(path: Path) -> dict[str, HistoryRow]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
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
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise PipelineError(
            f"'{path}' is not a valid download history ({error}); repair or delete it."
        ) from None
