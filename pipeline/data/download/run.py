"""The download run: every missing video, one after the other."""

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
from pipeline.core.files import where_offered
from pipeline.core.progress import track
from pipeline.data.download.history import HISTORY_FILE, DownloadHistory, HistoryRow
from pipeline.data.download.options import DownloadOptions, Retry
from pipeline.data.download.pace import Pace
from pipeline.data.download.site import Site, tools
from pipeline.data.manifest import ManifestRow

logger = logging.getLogger(__name__)

WORK_NAME = ".downloading"
LOCK_NAME = ".downloading.lock"


def download_missing(rows: Sequence[ManifestRow], videos: Path, options: DownloadOptions) -> None:
    """Download every video of the tables that has no file, and keep a status table beside them.

    Safe to kill at any moment: a clip gets its name when it is complete, and the table is written
    after every video. Running it again continues from there.

    Parameters
    ----------
    rows
        The videos of the tables, see ``manifest.list_videos``.
    videos
        The folder, which gets ``{name}.mp4`` and ``videos.status.tsv``.
    options
        Where and how to request them, and which earlier failures are retried.

    Raises
    ------
    PipelineError
        yt-dlp is not installed, the folder is not writable, another run is filling it, the site
        blocks, or too many requests fail to go on.
    """
    if not _due(rows, videos, DownloadHistory(videos / HISTORY_FILE), options.retry):
        logger.info("videos: nothing to download")
        return
    site, pace, counts = Site(options), Pace(options), Counter[str]()
    with _alone_in(videos), tools(), _fresh(videos / WORK_NAME) as work:
        # Read again: another run may have been at work until this one got the lock.
        history = DownloadHistory(videos / HISTORY_FILE)
        due = _due(rows, videos, history, options.retry)
        for index, name in enumerate(track(due, len(due), "videos")):
            if index:
                pace.pause()
            response, requests = pace.ask(functools.partial(site.download, name, videos, work))
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            history.add(HistoryRow(name, response.status, response.detail, requests, time))
            counts[response.status] += 1
            if reason := pace.reason_to_stop():
                raise PipelineError(f"stopped at '{name}', {index + 1} of {len(due)}: {reason}")
    summary = ", ".join(f"{status} {count}" for status, count in counts.most_common())
    logger.info("videos: %d requested: %s", len(due), summary)


def _due(
    rows: Sequence[ManifestRow], videos: Path, history: DownloadHistory, retry: Retry
) -> list[str]:
    """Return the videos that still have no file and are to be requested."""
    missing = (row.filename for row in rows if not row.path)
    return [
        name
        for name in missing
        if history.is_due(name, retry) and not (videos / f"{name}.mp4").is_file()
    ]


@contextmanager
def _alone_in(videos: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the kernel drops the lock when this process ends."""
    try:
        lock = (videos / LOCK_NAME).open("a")
    except OSError as error:
        raise PipelineError(
            f"'{videos}' is not writable ({error}); change its permissions, or choose another"
            " folder."
        ) from None
    with lock:
        try:
            with where_offered("flock"):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"another run is downloading into '{videos}'; wait for it, or stop it first."
            ) from None
        yield


@contextmanager
def _fresh(work: Path) -> Iterator[Path]:
    """Yield a new empty folder and remove it afterwards; what a killed run left is not used."""
    if work.is_symlink():
        work.unlink()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work)
