"""Five seeds of LINK as one batched network, one after another, and as five processes.

Run from the repository:
``PYTHONPATH=.:tests/unit:tests/benchmarks:tests/gpu python tests/benchmarks/bench_seeds.py``.
Random features of LLP's sizes, LINK as configured, all cores: one process has as many threads, five
processes have one each. Seconds are those of whole processes less those of one that trains nothing;
memory is the sum of their peaks. Each way must train the same network up to rounding.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from llp_size import llp_data
from torch import Tensor

from pipeline.parsers.registry import recipe_for
from pipeline.training.batched_seeds import BatchedTrainer
from pipeline.training.trainer import Trainer, TrainingJob

SEEDS = range(5)
VALIDATED = 64
CORES = len(os.sched_getaffinity(0))


@dataclass
class Run:
    """What the processes of a way to train took: wall and CPU seconds, and GiB."""

    wall: float
    cpu: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--child", choices=["batched", "in turn"], help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=CORES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments)
    else:
        compare(arguments.videos, arguments.epochs)


def train(arguments: argparse.Namespace) -> None:
    """Train the seeds in this process; save the last loss and the weights of each."""
    torch.set_num_threads(arguments.threads)
    recipe = recipe_for("link", {"epochs": max(1, arguments.epochs), "warmup_epochs": 1})
    data = llp_data(recipe, arguments.videos, VALIDATED)
    jobs = [
        TrainingJob("link", recipe, data, seed, torch.device("cpu")) for seed in arguments.seeds
    ]
    if arguments.epochs == 0:
        return
    trainers = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.child == "batched":
            batched = BatchedTrainer(jobs)
            batched.run(Path(folder) / "state", math.inf)
            trainers = batched.trainers
        else:
            for job in jobs:
                trainers.append(Trainer(job))
                trainers[-1].run(Path(folder) / str(job.seed), math.inf)
    for trainer in trainers:
        torch.save(
            {"loss": torch.tensor(trainer.progress.curve[-1]["loss"]), **trainer.plan.state_dict()},
            arguments.out / f"{trainer.job.seed}.pt",
        )


def compare(videos: int, epochs: int) -> None:
    """Print a row for every way to train five seeds, and how far each is from seeds in turn."""
    print(f"LINK, five seeds, {videos} videos, {epochs} epochs, {CORES} cores, ", end="")
    print(f"torch {torch.__version__}\n")
    print(f"{'':<28}{'wall, s':>9}{'CPU, s':>9}{'GiB':>7}{'loss':>10}{'weights':>10}")
    ways = {
        "one process, in turn": ("in turn", 1),
        "one process, one network": ("batched", 1),
        "five processes": ("in turn", len(SEEDS)),
    }
    first: dict[int, dict[str, Tensor]] = {}
    for name, (child, processes) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            idle = run(child, processes, videos, 0, Path(folder))
            took = run(child, processes, videos, epochs, Path(folder))
            found = {seed: torch.load(Path(folder) / f"{seed}.pt") for seed in SEEDS}
        first = first or found
        row = f"{name:<28}{took.wall - idle.wall:>9.1f}{took.cpu - idle.cpu:>9.1f}"
        print(f"{row}{took.memory:>7.2f}{apart(first, found, True):>10.1e}", end="")
        print(f"{apart(first, found, False):>10.1e}", flush=True)


def run(child: str, processes: int, videos: int, epochs: int, out: Path) -> Run:
    """Train all seeds in that many processes at the same time."""
    threads = CORES if processes == 1 else 1
    began = time.perf_counter()
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", child, "--threads", str(threads)]
            + ["--videos", str(videos), "--epochs", str(epochs), "--out", str(out), "--seeds"]
            + [str(seed) for seed in list(SEEDS)[first::processes]],
            stderr=subprocess.DEVNULL,
        )
        for first in range(processes)
    ]
    used = [os.wait4(each.pid, 0) for each in children]
    if any(status for _, status, _ in used):
        raise SystemExit("a process failed")
    cpu = sum(usage.ru_utime + usage.ru_stime for *_, usage in used)
    memory = sum(usage.ru_maxrss for *_, usage in used) / 2**20
    return Run(time.perf_counter() - began, cpu, memory)


def apart(
    first: dict[int, dict[str, Tensor]], found: dict[int, dict[str, Tensor]], of_loss: bool
) -> float:
    """Return the largest difference of the losses, or of the weights."""
    return max(
        float((value - found[seed][name]).abs().max())
        for seed, values in first.items()
        for name, value in values.items()
        if (name == "loss") == of_loss
    )


if __name__ == "__main__":
    main()
