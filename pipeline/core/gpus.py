"""Which GPUs of a machine are this process's own: several jobs run at a time, none shares one.

A GPU is claimed by a lock on a file that stands for it, by its UUID where the driver's tool says
it: two jobs may call one GPU ``0`` and ``GPU-...``. The kernel drops the lock when the process
ends, however it ends, so nothing is left to clean up after ``kill -9``.
"""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import PipelineError

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Slurm, PBS, LSF, Grid Engine. What a scheduler calls GPU 0 may be another one in every job, so
# the locks of an allocation are its own.
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
POLL_SECONDS = 0.2
# How long nvidia-smi may take; its GPUs may be asleep.
TOOL_SECONDS = 30.0
# Not the temporary folder, which differs from job to job (TMPDIR), nor /run/user, which comes and
# goes with a person's logins.
LOCKS = Path("/tmp")
# The sticky bit keeps what clears /tmp of old files from a lock that somebody holds.
LOCK_MODE = 0o1600
# What CUDA stops reading its variable at, besides a negative number.
NO_GPU = ("", "NoDevFiles")


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
    visible = _by_identity(visible_gpus()) if wanted else {}
    if not visible:
        yield []
        return
    before = os.environ.get(VISIBLE)
    with ExitStack() as held:
        chosen = _claim([*visible], min(wanted or 0, len(visible)), folder or lock_folder(), held)
        claimed = [visible[identity] for identity in chosen]
        os.environ[VISIBLE] = ",".join(claimed)
        logger.info(
            "GPU %s of %s is this job's own", os.environ[VISIBLE], ",".join(visible.values())
        )
        try:
            yield claimed
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: what ``CUDA_VISIBLE_DEVICES`` names, or all.

    As CUDA does, it reads the names up to the first that can be no GPU, such as ``-1``.
    """
    if VISIBLE in os.environ:
        names = (name.strip() for name in os.environ[VISIBLE].split(","))
        return [*takewhile(lambda name: name not in NO_GPU and name[0] != "-", names)]

    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def lock_folder() -> Path:
    """Return the folder of this machine's locks, or of the allocation's where a scheduler gave one.

    It is this user's: processes of others, and those that claim nothing, are not seen.
    """
    owner = next((os.environ[name] for name in ALLOCATIONS if name in os.environ), "machine")
    return LOCKS / f"avvp-gpus-{os.getuid()}-{quote(owner, safe='')}"


def _by_identity(gpus: Sequence[str]) -> dict[str, str]:
    """Return UUID (or, where it is not known, the name) to name, each GPU once.

    A UUID may be cut short, as CUDA allows where it stays unique. Where a machine has different
    models, CUDA may count them in another order than the tool does: a number then stands for
    another number's UUID, which keeps those who use numbers apart all the same.
    """
    uuids = _uuids()
    found: dict[str, str] = {}
    for gpu in gpus:
        longer = [
            uuid for uuid in uuids.values() if gpu.startswith("GPU-") and uuid.startswith(gpu)
        ]
        identity = longer[0] if len(longer) == 1 else uuids.get(gpu, gpu)
        found.setdefault(identity, gpu)
    return found


def _uuids() -> dict[str, str]:
    """Return index to UUID of the machine's GPUs; nothing where the driver's tool does not tell."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return {}
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=TOOL_SECONDS)
    except subprocess.TimeoutExpired:
        return {}
    return dict(re.findall(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", done.stdout, re.MULTILINE))


def _claim(gpus: Sequence[str], wanted: int, folder: Path, held: ExitStack) -> list[str]:
    """Lock ``wanted`` of the GPUs; the first in the queue gets the next free ones."""
    claimed: list[str] = []
    with _writable(folder), ExitStack() as queue:
        # One process chooses at a time: two that want two GPUs each can never hold one each.
        _lock(folder / "queue", queue, fcntl.LOCK_EX)
        while True:
            for gpu in gpus:
                if gpu not in claimed and _lock(folder / quote(gpu, safe=""), held):
                    claimed.append(gpu)
                if len(claimed) == wanted:
                    return claimed
            time.sleep(POLL_SECONDS)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make the folder of the locks; say so where it is not this user's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise PipelineError(
            f"GPUs are claimed by locks in '{folder}', which cannot be written"
            f" ({error.strerror}); remove that folder, or have its owner remove it."
        ) from None


def _lock(path: Path, held: ExitStack, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Lock a file for as long as ``held`` is open; return whether it was free."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, LOCK_MODE)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
