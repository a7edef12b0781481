"""Five seeds at LLP's size: one after another, as one batched network, and a process each.

Steps take the same time all the time, so that short epochs tell how long one of LLP's takes.
"""

import math
import multiprocessing
import os
import tempfile
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"

import torch
from harness import REHEARSAL, Rows, device, peak_memory, rows_of_part, wait
from llp_size import TRAIN, first_of, llp_data, options

from pipeline.core.devices import tf32
from pipeline.parsers.registry import recipe_for
from pipeline.training.batched_seeds import BatchedTrainer
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import Trainer, TrainingJob

METHODS = ("link",) if REHEARSAL else ("link", "valorpp")
SEEDS = range(2 if REHEARSAL else 5)
EPOCHS = 2
# Videos of a short epoch, from which one of TRAIN videos is computed.
FEW = 40 * 64


def main() -> None:
    """Write a row for every method and way to train the seeds."""
    rows = rows_of_part()
    for method in METHODS:
        data = first_of(llp_data(recipe_for(method, {})), FEW)
        for precision in ("fp32", "tf32"):
            with rows.attempt(f"{method}, {precision}"):
                measure(rows, method, data, precision)
        with rows.attempt(f"{method}, without dropout"):
            agreement(rows, method, data)
    with rows.attempt("processes"):
        side_by_side(rows, "link")


def jobs_of(method: str, data: TrainingData, **changes: object) -> list[TrainingJob]:
    """Return a job for every seed."""
    recipe = recipe_for(method, options(epochs=EPOCHS, warmup_epochs=1, **changes))
    data = data.to(device())
    return [TrainingJob(method, recipe, data, seed, device()) for seed in SEEDS]


def measure(rows: Rows, method: str, data: TrainingData, precision: str) -> None:
    """Write how long the steps of an epoch take, one seed after another and as one network."""
    jobs = jobs_of(method, data, precision=precision)
    trainer = Trainer(jobs[0])
    found = {"epoch of all s": len(SEEDS) * seconds_of_epoch(trainer, precision)}
    rows.add(f"{method}, {precision} steps, one after another (computed from one)", **found)
    peak_memory(reset=True)
    seconds = seconds_of_epoch(BatchedTrainer(jobs), precision)
    found = {"epoch of all s": seconds, "GiB at most": peak_memory()}
    rows.add(f"{method}, {precision} steps, one network", **found)


def seconds_of_epoch(trainer: Trainer | BatchedTrainer, precision: str) -> float:
    """Return the seconds of the steps of an epoch of all of LLP; the first captures graphs."""
    with tf32(precision == "tf32"):
        trainer.pass_over_videos(1)
        wait()
        began = time.perf_counter()
        trainer.pass_over_videos(2)
        wait()
    videos = len(trainer.job.dataset.train.inputs)
    return (time.perf_counter() - began) * TRAIN / videos


def agreement(rows: Rows, method: str, data: TrainingData) -> None:
    """Write how far seeds are from themselves alone; no dropout, which GPUs draw otherwise."""
    drop = {"text_dropout": 0} if method == "link" else {}
    jobs = jobs_of(method, data, dropout=0, **drop)
    batched = BatchedTrainer(jobs)
    losses, weights = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        batched.run(Path(folder) / "state.pt", math.inf)
        for job, seed in zip(jobs, batched.trainers, strict=True):
            alone = Trainer(job)
            alone.run(Path(folder) / f"{job.seed}.pt", math.inf)
            curves = zip(alone.progress.curve, seed.progress.curve, strict=True)
            losses = max(losses, *(abs(one["loss"] - other["loss"]) for one, other in curves))
            mine = seed.plan.state_dict()
            apart = [
                (each - mine[name]).abs().max() for name, each in alone.plan.state_dict().items()
            ]
            weights = max(weights, float(torch.stack(apart).max()))
    rows.add(f"{method}, {EPOCHS} epochs", **{"loss apart": losses, "weights apart": weights})


def side_by_side(rows: Rows, method: str) -> None:
    """Write the row of the trainer in a process a seed, all on one card at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(len(SEEDS)), context.SimpleQueue()
    words = [(method, seed, barrier, times) for seed in SEEDS]
    children = [context.Process(target=train_one, args=each) for each in words]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise RuntimeError("a process failed")
    spans = [times.get() for _ in children]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    rows.add(f"{method}, fp32, a process each", **{"epoch of all s": (last - first) / EPOCHS})


def train_one(
    method: str, seed: int, barrier: Barrier, times: "SimpleQueue[tuple[float, float]]"
) -> None:
    """Train a seed for a few epochs once all are ready; say when it began and ended."""
    torch.set_num_threads(1)
    recipe = recipe_for(method, options(epochs=EPOCHS, warmup_epochs=1))
    trainer = Trainer(TrainingJob(method, recipe, llp_data(recipe), seed, device()))
    barrier.wait(120)
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        trainer.run(Path(folder) / "state.pt", math.inf)
    times.put((began, time.time()))


if __name__ == "__main__":
    # The trainers', whatever comes first.
    torch.use_deterministic_algorithms(True)
    main()
