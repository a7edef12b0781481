"""GPU reservation: parallel jobs on one machine each get their own GPUs.

A GPU is reserved by locking a file named after it, by its UUID if nvidia-smi reports one, because
one job may call it ``0`` and another ``GPU-...``. The kernel drops the lock however the process
ends, so nothing needs cleaning up after ``kill -9``.
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
from pipeline.core.files import where_offered

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Slurm, PBS, LSF, Grid Engine. A scheduler may map GPU 0 to a different card in every job, so
# each allocation has its own locks.
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
POLL_SECONDS = 0.2
# Time limit of nvidia-smi, which may have to wake the GPUs.
TOOL_SECONDS = 30.0
# Not the temporary folder (TMPDIR may differ between jobs), nor /run/user, which disappears when
# the user logs out.
LOCKS = Path("/tmp")
# The sticky bit protects held locks from programs that clean old files out of /tmp.
LOCK_MODE = 0o1600
# Entries of CUDA_VISIBLE_DEVICES that end the list, besides negative numbers.
NO_GPU = ("", "NoDevFiles")


@contextmanager
def claimed_gpus(wanted: int | None, folder: Path | None = None) -> Iterator[list[str]]:
    """Reserve free GPUs for this process and hide all others from it.

    Waits until enough are free. Call it before CUDA is initialised: inside the block,
    ``CUDA_VISIBLE_DEVICES`` (which child processes inherit) lists the reserved GPUs; afterwards
    it is restored.

    Parameters
    ----------
    wanted
        How many GPUs; all visible ones if there are fewer. None reserves and hides nothing.
    folder
        Folder of the lock files (default: ``lock_folder()``).

    Yields
    ------
    list
        The reserved GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty if none is visible.
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
        logger.info("reserved GPU %s of %s", os.environ[VISIBLE], ",".join(visible.values()))
        try:
            yield claimed
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use: those in ``CUDA_VISIBLE_DEVICES``, or all.

    Like CUDA, stop at the first invalid entry, such as ``-1``.
    """
    if VISIBLE in os.environ:
        names = (name.strip() for name in os.environ[VISIBLE].split(","))
        return [*takewhile(lambda name: name not in NO_GPU and name[0] != "-", names)]

    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def lock_folder() -> Path:
    """Return the folder of this machine's locks, or of the scheduler's allocation.

    The folder belongs to the user: processes of other users, and those that reserve nothing, are
    not seen.
    """
    owner = next((os.environ[name] for name in ALLOCATIONS if name in os.environ), "machine")
    return LOCKS / f"avvp-gpus-{os.getuid()}-{quote(owner, safe='')}"


def _by_identity(gpus: Sequence[str]) -> dict[str, str]:
    """Map each GPU's UUID, or its name if the UUID is unknown, to its name.

    A UUID may be abbreviated, as CUDA allows. On machines with different GPU models, CUDA and
    nvidia-smi may number the cards differently, so a number may map to another card's UUID; jobs
    that use numbers still never share a GPU.
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
    """Return index to UUID of the machine's GPUs; empty if nvidia-smi cannot list them."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return {}
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=TOOL_SECONDS)
    except subprocess.TimeoutExpired:
        return {}
    return dict(re.findall(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", done.stdout, re.MULTILINE))


def _claim(gpus: Sequence[str], wanted: int, folder: Path, held: ExitStack) -> list[str]:
    """Lock ``wanted`` of the GPUs; jobs are served in the order in which they queue."""
    claimed: list[str] = []
    with _writable(folder), ExitStack() as queue:
        # Only one process chooses at a time, so two that want two GPUs never hold one each.
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
    """Create the lock folder; raise a `PipelineError` if it is not writable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise PipelineError(
            f"the GPU lock folder '{folder}' cannot be written ({error.strerror}); remove it, or"
            " ask its owner to remove it."
        ) from None


def _lock(path: Path, held: ExitStack, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Lock a file until ``held`` closes; return whether it was free."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, LOCK_MODE)
    try:
        with where_offered("flock"):
            fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
