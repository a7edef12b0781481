"""The download run: every video that the folder lacks, one after the other."""

import fcntl
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.progress import track
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory, HistoryRow, Retry
from pipeline.data.download.pace import Pace, Politeness
from pipeline.data.download.site import Site, tools
from pipeline.data.manifest import ManifestRow

logger = logging.getLogger(__name__)

WORK_NAME = ".downloading"
LOCK_NAME = ".downloading.lock"


def download_missing(
    rows: Sequence[ManifestRow], videos: Path, site: Site, politeness: Politeness, retry: Retry
) -> None:
    """Ask for every video of the tables that has no file, and keep a status table beside them.

    It may be killed at any moment: a clip gets its name when it is whole, and the table is whole
    after every video. The same call again goes on from there.

    Parameters
    ----------
    rows
        The videos of the tables, as ``manifest.plan`` lists them.
    videos
        The folder, which gets ``{name}.mp4`` and ``videos.status.tsv``.
    site, politeness
        Where and how to ask.
    retry
        Which failed videos are tried again, see ``DownloadHistory.is_due``.

    Raises
    ------
    PipelineError
        yt-dlp is not installed, the folder cannot be written to, another run fills it, the site
        blocks, or so much fails that going on makes no sense.
    """
    if not _due(rows, videos, DownloadHistory(videos / HISTORY_FILE), retry):
        logger.info("videos: nothing to ask for")
        return
    pace, counts = Pace(politeness), Counter[str]()
    with _alone_in(videos), tools(), _fresh(videos / WORK_NAME) as work:
        # Read again: until the lock was this run's, another one may have been at work.
        ledger = DownloadHistory(videos / HISTORY_FILE)
        due = _due(rows, videos, ledger, retry)
        for place, name in enumerate(track(due, len(due), "videos")):
            if place:
                pace.pause()
            answer, requests = pace.ask(functools.partial(site.download, name, videos, work))
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ledger.add(HistoryRow(name, answer.status, answer.detail, requests, time))
            counts[answer.status] += 1
            if reason := pace.reason_to_stop():
                raise PipelineError(f"stopped at '{name}', {place + 1} of {len(due)}: {reason}")
    summary = ", ".join(f"{status} {count}" for status, count in counts.most_common())
    logger.info("videos: %d asked for: %s", len(due), summary)


def _due(
    rows: Sequence[ManifestRow], videos: Path, ledger: DownloadHistory, retry: Retry
) -> list[str]:
    """Return the names that have no file, by now, and are to be asked for."""
    missing = (row.filename for row in rows if not row.path)
    return [
        name
        for name in missing
        if ledger.is_due(name, retry) and not (videos / f"{name}.mp4").is_file()
    ]


@contextmanager
def _alone_in(videos: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the lock goes with this process, however it ends."""
    try:
        lock = (videos / LOCK_NAME).open("a")
    except OSError as error:
        raise PipelineError(
            f"'{videos}' cannot be written to ({error}); mend that, or name another folder."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"another run is downloading into '{videos}'; wait for it, or stop it first."
            ) from None
        yield


@contextmanager
def _fresh(work: Path) -> Iterator[Path]:
    """Make an empty folder, and remove it when its block ends well or ill.

    What is in it beforehand is of a run that was killed, or came with the videos: it is not used.
    """
    if work.is_symlink():
        work.unlink()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work)
