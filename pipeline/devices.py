"""Which GPUs of a machine are this process's own: several jobs run at a time, none shares one.

A GPU is claimed by a lock on a file that stands for it. The kernel drops the lock when the process
ends, however it ends, so nothing is left to clean up after ``kill -9``.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Slurm, PBS, LSF, Grid Engine. What a scheduler calls GPU 0 may be another one in every job, so
# the locks of an allocation are its own.
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
POLL_SECONDS = 0.2


@contextmanager
def claimed_gpus(wanted: int | None, folder: Path | None = None) -> Iterator[list[str]]:
    """Hold GPUs that no other process has claimed, and hide all others from this one.

    Waits until they are free. Must come before CUDA is first used: ``CUDA_VISIBLE_DEVICES``, which
    child processes inherit, names the claimed GPUs inside the block and is as before after it.

    Parameters
    ----------
    wanted
        How many; all that are visible where there are fewer. None claims and hides nothing.
    folder
        Where the locks are (default: ``lock_folder()``).

    Yields
    ------
    list
        The claimed GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty where none is visible.
    """
    visible = visible_gpus() if wanted else []
    if not visible:
        yield []
        return
    before = os.environ.get(VISIBLE)
    with ExitStack() as held:
        claimed = _claim(visible, min(wanted or 0, len(visible)), folder or lock_folder(), held)
        os.environ[VISIBLE] = ",".join(claimed)
        logger.info("GPU %s of %s is this job's own", os.environ[VISIBLE], ",".join(visible))
        try:
            yield claimed
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: what ``CUDA_VISIBLE_DEVICES`` names, or all."""
    if VISIBLE in os.environ:
        return [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip()]

    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def lock_folder() -> Path:
    """Return the folder of this machine's locks, or of the allocation's where a scheduler gave one.

    It is this user's: processes of others, and those that claim nothing, are not seen.
    """
    owner = next((os.environ[name] for name in ALLOCATIONS if name in os.environ), "machine")
    return Path(tempfile.gettempdir()) / f"avvp-gpus-{os.getuid()}-{quote(owner, safe='')}"


def _claim(gpus: Sequence[str], wanted: int, folder: Path, held: ExitStack) -> list[str]:
    """Lock ``wanted`` of the GPUs; the first in the queue gets the next free ones."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    claimed: list[str] = []
    with ExitStack() as queue:
        # One process chooses at a time: two that want two GPUs each can never hold one each.
        _lock(folder / "queue", queue, fcntl.LOCK_EX)
        while True:
            for gpu in gpus:
                if gpu not in claimed and _lock(folder / quote(gpu, safe=""), held):
                    claimed.append(gpu)
                if len(claimed) == wanted:
                    return claimed
            time.sleep(POLL_SECONDS)


def _lock(path: Path, held: ExitStack, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Lock a file for as long as ``held`` is open; return whether it was free."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
