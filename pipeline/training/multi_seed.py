"""Several seeds of one method in one job, spread over devices.

The parsers are small (LINK has 5.5 million parameters), so one training cannot keep several GPUs
busy: sharing out its batches would spend the gain on exchanging gradients, and its numbers would
depend on how many GPUs there are. Seeds do not depend on each other: each device trains seeds of
its own in a process of its own, and every checkpoint has the bytes that its seed has alone (on a
CPU: with as many threads).
"""

import logging
import signal
import sys
from collections.abc import Mapping, Sequence
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
from pipeline.training.dataset import read_training_data
from pipeline.training.sources import FeatureSource
from pipeline.training.trainer import SAVE_EVERY_SECONDS, STATE_FILE, TrainingJob, train

logger = logging.getLogger(__name__)

# Seed to the folder that gets its results.
SeedFolders = Mapping[int, Path]


@dataclass(frozen=True)
class SeedPlan:
    """What all seeds of a job have in common; it can be sent to another process.

    Attributes
    ----------
    method, recipe
        What is trained and how.
    source, annotations, vocabulary
        Cached features and labels, the folder of annotation tables, the classes.
    fit_only
        Whether only the checkpoint and the curve are left.
    save_every_seconds
        How often a state to resume from is written.
    """

    method: str
    recipe: Recipe
    source: FeatureSource
    annotations: Path
    vocabulary: Vocabulary
    fit_only: bool = False
    save_every_seconds: float = SAVE_EVERY_SECONDS


def choose_devices(name: str, processes: int) -> list[torch.device]:
    """Return a device for each of some processes.

    ``auto`` and ``cuda`` go over all visible GPUs in turn; ``cpu`` and ``cuda:INDEX`` are the
    same for every process.

    Raises
    ------
    PipelineError
        ``processes`` is below 1, or there is no such device.
    """
    if processes < 1:
        raise PipelineError(f"processes is {processes}; allowed is 1 or more.")
    device = choose_device(name)
    if device.type == "cuda" and ":" not in name:
        gpus = torch.cuda.device_count()
        return [torch.device("cuda", process % gpus) for process in range(processes)]
    return [device] * processes


def train_seeds(plan: SeedPlan, folders: SeedFolders, devices: Sequence[torch.device]) -> None:
    """Train every seed and leave its files in its folder, as ``training.train`` does.

    A seed that was finished when the job was killed is not trained again, and the one that was
    interrupted carries on: their states are in their folders until all seeds are done. They, and
    not the finished files, say so, because Snakemake removes a job's outputs before it runs it
    again.

    Parameters
    ----------
    plan
        What the seeds have in common.
    folders
        The seeds, and where each one's files go.
    devices
        One process each; the same device may stand several times. One device: this process.

    Raises
    ------
    PipelineError
        Something is missing, a seed's loss is no longer finite, or its process was killed; the
        others are stopped.
    """
    if len(devices) == 1:
        train_in_turn(plan, folders, devices[0])
    else:
        _train_side_by_side(plan, folders, devices)
    for folder in folders.values():
        (folder / STATE_FILE).unlink(missing_ok=True)


def train_in_turn(plan: SeedPlan, folders: SeedFolders, device: torch.device) -> None:
    """Read the features once and train one seed after the other; the states stay."""
    dataset = read_training_data(plan.source, plan.annotations, plan.recipe, plan.vocabulary)
    for seed, folder in folders.items():
        job = TrainingJob(plan.method, plan.recipe, dataset, seed, device)
        try:
            train(job, folder, plan.fit_only, plan.save_every_seconds)
        except torch.OutOfMemoryError:
            raise PipelineError(
                f"seed {seed} does not fit into the memory of {device}; "
                "lower --processes, so that fewer share it, or batch_size."
            ) from None


def _train_side_by_side(
    plan: SeedPlan, folders: SeedFolders, devices: Sequence[torch.device]
) -> None:
    """Share the seeds out to one process a device; the first failure stops them all."""
    shares = [dict(list(folders.items())[first :: len(devices)]) for first in range(len(devices))]
    threads = max(1, torch.get_num_threads() // len(devices))
    failures: SimpleQueue[str] = get_context("spawn").SimpleQueue()
    is_debug = logger.isEnabledFor(logging.DEBUG)
    work = [(plan, *share) for share in zip(shares, devices, strict=True)]
    try:
        spawn(_train_share, (work, threads, is_debug, failures), nprocs=len(devices))
    except ProcessExitedException as error:
        if not failures.empty():
            raise PipelineError(failures.get()) from None
        seeds = ", ".join(map(str, shares[error.error_index]))
        raise PipelineError(
            f"the process of seed {seeds} ended with {error.signal_name or error.exit_code}; if "
            "memory was short lower --processes, and run again: it carries on where it was."
        ) from None


def _train_share(
    index: int,
    work: Sequence[tuple[SeedPlan, SeedFolders, torch.device]],
    threads: int,
    is_debug: bool,
    failures: "SimpleQueue[str]",
) -> None:
    """Train one process's seeds.

    The process reads the features itself. To hand them over would save some seconds of each
    process, but takes shared memory of their size, of which a container often has only 64 MB.
    """
    # torch ends a child with its parent, by a signal that what a script starts with & ignores.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = parent_process()
    # Here the parent ended before torch could ask for that.
    if parent is None or not parent.is_alive():
        return
    configure_logging(is_debug)
    torch.set_num_threads(threads)
    try:
        train_in_turn(*work[index])
    except PipelineError as error:
        failures.put(str(error))
        sys.exit(2)
