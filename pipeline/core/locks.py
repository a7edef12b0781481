"""A lock that a killed run left behind: told from the lock of a run that is at work.

Snakemake marks a folder as its own by files in ``.snakemake/locks``, and a run that was killed
cannot remove them. Beside them every run holds a lock of the kernel's, which ends with its process
however that ends: where nobody holds one, the files are nobody's.

Jobs of a killed run may live on. Those on the same machine do no harm to the next run's, which may
make the same again: what either writes is whole and the same. Those of a cluster wait in its queue,
and a person must cancel them; so a run that submits its jobs says so, and its lock is left.
"""

import fcntl
import logging
import os
import shutil
import socket
from pathlib import Path

from pipeline.core.errors import PipelineError

logger = logging.getLogger(__name__)

RUNNING_FILE = "running"
LOCKS_FOLDER = "locks"
# What follows the machine's name where a run submits its jobs.
SUBMITS = "submits its jobs"


def hold(folder: Path) -> int:
    """Say that this process is at work in a folder, and remove what none is at work with.

    The lock lasts until the process ends; any number of processes may hold it. Locks of files are
    seen by other machines only on some file systems, so the files of a run on another machine are
    left: its name is in ``running``. So are those of a run that submitted its jobs.

    Parameters
    ----------
    folder
        ``.snakemake`` of the run's folder.

    Returns
    -------
    int
        The descriptor that holds the lock; to close it lets go.

    Raises
    ------
    PipelineError
        The folder cannot be written to.
    """
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / RUNNING_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise PipelineError(
            f"'{folder.absolute()}' cannot be written ({error.strerror}); a run needs a folder of"
            " its own: choose another with --directory."
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another run is at work; whether both may, Snakemake decides
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor
    _remove_stale(folder / LOCKS_FOLDER, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def note_submission(descriptor: int) -> None:
    """Say that this run's jobs are submitted, for the next run to find if this one is killed.

    Parameters
    ----------
    descriptor
        What `hold` returned.
    """
    _write(descriptor, f"{socket.gethostname()} {SUBMITS}")


def _remove_stale(locks: Path, descriptor: int) -> None:
    is_locked = locks.is_dir() and any(locks.iterdir())
    host, _, submits = os.pread(descriptor, 1024, 0).decode(errors="replace").partition(" ")
    if not is_locked:
        _write(descriptor, socket.gethostname())
    elif submits:
        logger.warning(
            "the run before, on %s, was killed, and its jobs may still be queued or running: cancel"
            " them, then add --unlock to this command once",
            host,
        )
    elif host == socket.gethostname():
        logger.warning("the run before was killed; its lock is removed")
        shutil.rmtree(locks)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
