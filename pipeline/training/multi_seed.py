"""Train several seeds of one method in one job, spread over devices.

The parsers are small (LINK has 5.5 million parameters), so data-parallel training would lose its
gain to gradient exchange, and its results would depend on the number of GPUs. Seeds are
independent, so each process trains its share of them on one device, in turn or as one batched
network. In turn, every checkpoint is byte-identical to one trained alone (on a CPU: with the same
number of threads).
"""

import logging
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from pipeline.core.devices import choose_device
from pipeline.core.errors import PipelineError
from pipeline.core.progress import configure_logging
from pipeline.core.vocabulary import Vocabulary
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import build_plan
from pipeline.training.batched_seeds import BatchedTrainer, refusal
from pipeline.training.dataset import read_training_data
from pipeline.training.sources import FeatureSource
from pipeline.training.states import SAVE_EVERY_SECONDS, STATE_FILE
from pipeline.training.trainer import TrainingJob, train, write_trained

logger = logging.getLogger(__name__)

# Maps a seed to its output folder.
SeedFolders = Mapping[int, Path]


@dataclass(frozen=True)
class SeedPlan:
    """Settings shared by all seeds of a job; can be pickled.

    Attributes
    ----------
    method, recipe
        The method and how it is trained.
    source, annotations, vocabulary
        Cached features and labels, folder of the annotation tables, classes.
    fit_only
        Write only the checkpoint and the training curve.
    save_every_seconds
        Interval between writes of the state that an interrupted run resumes from.
    cuda_graphs
        Whether a GPU replays steps as a CUDA graph, see `TrainingJob`.
    batched
        Whether the seeds of a process are trained as one batched network, where the method can be.
    """

    method: str
    recipe: Recipe
    source: FeatureSource
    annotations: Path
    vocabulary: Vocabulary
    fit_only: bool = False
    save_every_seconds: float = SAVE_EVERY_SECONDS
    cuda_graphs: bool = True
    batched: bool = False


def choose_devices(name: str, processes: int) -> list[torch.device]:
    """Return one device per process.

    ``auto`` and ``cuda`` cycle through all visible GPUs; ``cpu`` and ``cuda:INDEX`` give every
    process the same device.

    Raises
    ------
    PipelineError
        ``processes`` is below 1, or the device does not exist.
    """
    if processes < 1:
        raise PipelineError(f"processes is {processes}; must be at least 1.")
    device = choose_device(name)
    if device.type == "cuda" and ":" not in name:
        gpus = torch.cuda.device_count()
        return [torch.device("cuda", process % gpus) for process in range(processes)]
    return [device] * processes


def train_seeds(plan: SeedPlan, folders: SeedFolders, devices: Sequence[torch.device]) -> None:
    """Train every seed and write its files into its folder, as ``trainer.train`` does.

    If the job is killed, the next call skips finished seeds and resumes the interrupted one. It
    relies on the saved states, which stay in the folders until all seeds are done, because
    Snakemake deletes the outputs of a failed job before rerunning it.

    Parameters
    ----------
    plan
        Settings shared by the seeds.
    folders
        Output folder of each seed.
    devices
        One process per entry; a device may occur several times. A single device uses the current
        process.

    Raises
    ------
    PipelineError
        Something is missing, a loss is not finite, or a process was killed. The other processes
        are stopped.
    """
    if len(devices) == 1:
        train_on_one_device(plan, folders, devices[0])
    else:
        _train_side_by_side(plan, folders, devices)
    for folder in folders.values():
        (folder / STATE_FILE).unlink(missing_ok=True)


def train_on_one_device(plan: SeedPlan, folders: SeedFolders, device: torch.device) -> None:
    """Read the features once and train the seeds, together or in turn; keep their saved states."""
    dataset = read_training_data(plan.source, plan.annotations, plan.recipe, plan.vocabulary)
    with _naming_memory("the features do", device):
        dataset = dataset.to(device)
    jobs = [
        TrainingJob(plan.method, plan.recipe, dataset, seed, device, plan.cuda_graphs)
        for seed in folders
    ]
    if plan.batched and len(jobs) > 1:
        reason = refusal(build_plan(plan.method, dataset.dimensions, plan.recipe))
        if reason is None:
            _train_batched(plan, jobs, list(folders.values()))
            return
        logger.info("the seeds of %s are trained one after the other: %s", plan.method, reason)
    for job, folder in zip(jobs, folders.values(), strict=True):
        with _naming_memory(f"seed {job.seed} does", device):
            train(job, folder, plan.fit_only, plan.save_every_seconds)


def _train_batched(plan: SeedPlan, jobs: Sequence[TrainingJob], folders: Sequence[Path]) -> None:
    """Train the seeds as one network; the first folder has the state of all."""
    state = folders[0] / STATE_FILE
    with _naming_memory(f"{len(jobs)} seeds as one network do", jobs[0].device):
        batched = BatchedTrainer(jobs)
        batched.run(state, plan.save_every_seconds)
        batched.save(state)
    for trainer, folder in zip(batched.trainers, folders, strict=True):
        write_trained(trainer, folder, plan.fit_only)


@contextmanager
def _naming_memory(what: str, device: torch.device) -> Iterator[None]:
    """Say in one sentence that the memory of a device is too small."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise PipelineError(
            f"{what} not fit into the memory of {device}; train fewer seeds at once (--processes,"
            " --batch-seeds), or lower batch_size."
        ) from None


def _train_side_by_side(
    plan: SeedPlan, folders: SeedFolders, devices: Sequence[torch.device]
) -> None:
    """Distribute the seeds over one process per device; the first failure stops all of them."""
    shares = [dict(list(folders.items())[first :: len(devices)]) for first in range(len(devices))]
    threads = max(1, torch.get_num_threads() // len(devices))
    try:
        failures: SimpleQueue[str] = get_context("spawn").SimpleQueue()
    except OSError as error:  # its semaphores are in /dev/shm
        logger.warning("no shared memory (%s); training the seeds one after the other", error)
        train_on_one_device(plan, folders, devices[0])
        return
    is_debug = logger.isEnabledFor(logging.DEBUG)
    work = [(plan, *share) for share in zip(shares, devices, strict=True)]
    try:
        spawn(_train_share, (work, threads, is_debug, failures), nprocs=len(devices))
    except ProcessExitedException as error:
        if not failures.empty():
            raise PipelineError(failures.get()) from None
        seeds = ", ".join(map(str, shares[error.error_index]))
        raise PipelineError(
            f"the process of seed {seeds} ended with {error.signal_name or error.exit_code}; "
            "rerun to resume, with fewer --processes if it ran out of memory."
        ) from None


def _train_share(
    index: int,
    work: Sequence[tuple[SeedPlan, SeedFolders, torch.device]],
    threads: int,
    is_debug: bool,
    failures: "SimpleQueue[str]",
) -> None:
    """Train the seeds of one process.

    Each process reads the features itself. Sharing them would save a few seconds, but needs as
    much shared memory, and containers often have only 64 MB of it.
    """
    # torch ends a child with its parent by SIGINT, which background jobs of a shell script ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = parent_process()
    # The parent may have ended before torch set this up.
    if parent is None or not parent.is_alive():
        return
    configure_logging(is_debug)
    torch.set_num_threads(threads)
    try:
        train_on_one_device(*work[index])
    except PipelineError as error:
        failures.put(str(error))
        sys.exit(2)
