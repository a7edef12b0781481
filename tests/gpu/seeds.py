"""Five seeds at LLP's size: one after another, side by side on one card, and as one network.

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
from harness import REHEARSAL, Rows, device, multiplied, peak_memory, rows_of_part
from llp_size import TRAIN, first_of, llp_data, options
from steps import Steps
from train import no_drop

from pipeline.parsers.registry import recipe_for
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
        with rows.attempt(f"{method}, stacked"):
            agreement(rows, method, first_of(data, FEW // 4))
        # Not bf16: on a card, layer norms under autocast and vmap have no backward pass.
        for precision in ("fp32", "tf32"):
            stacked(rows, method, data, precision)
    with rows.attempt("processes"):
        side_by_side(rows, "link")


def agreement(rows: Rows, method: str, data: TrainingData) -> None:
    """Write how far stacked seeds, without dropout, are from each alone after an epoch."""
    recipe = recipe_for(method, options(dropout=0, **no_drop(method)))
    alone = [Steps(method, recipe, data, [seed], device()) for seed in SEEDS]
    seconds, losses = zip(*(each.epoch() for each in alone), strict=True)
    together = Steps(method, recipe, data, list(SEEDS), device())
    eager, found = together.epoch()
    apart = max(
        float((each - together.weights[key][row]).detach().abs().max())
        for row, one in enumerate(alone)
        for key, each in one.weights.items()
    )
    difference = float((found - torch.stack(losses)).abs().max())
    more = {"loss apart": difference, "weights apart": apart}
    scale = TRAIN / len(data.train.inputs)
    rows.add(f"{method}, fp32 steps, one after another", **{"epoch of all s": scale * sum(seconds)})
    eager *= scale
    rows.add(f"{method}, fp32 steps, one network, eager", **{"epoch of all s": eager}, **more)


def stacked(rows: Rows, method: str, data: TrainingData, precision: str) -> None:
    """Write the row of all seeds as one network, with the recipe's dropout; a graph on a card."""
    name = f"{method}, {precision} steps, one network"
    with rows.attempt(name), multiplied(precision):
        peak_memory(reset=True)
        recipe = recipe_for(method, options())
        steps = Steps(method, recipe, data, list(SEEDS), device())
        if device().type == "cuda":
            steps.capture()
            name += ", CUDA graph"
        seconds, losses = zip(*(steps.epoch() for _ in range(EPOCHS)), strict=True)
        last = [round(float(loss), 4) for loss in losses[-1]]
        scale = TRAIN / len(data.train.inputs)
        found = {"epoch of all s": scale * min(seconds), "last losses": last}
        rows.add(name, **found, **{"GiB at most": peak_memory()})


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
    main()
