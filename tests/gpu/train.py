"""Seconds of an epoch of the trainer at LLP's size, with CUDA graphs and without."""

import math
import os
import tempfile
import time
from pathlib import Path

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"

import torch
from harness import Rows, device, peak_memory, rows_of_part, wait
from llp_size import TRAIN, first_of, llp_data, options

from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import Trainer, TrainingJob

METHODS = ("valorpp", "link")
EPOCHS = 2
# Videos of the short epochs that are slow, of which LLP has TRAIN.
FEW = 20 * 64


def main() -> None:
    """Write a row for every method and way to train it."""
    rows = rows_of_part()
    for method in METHODS:
        data = llp_data(recipe_for(method, {}))
        measure(rows, method, data, "fp32")
        eager(rows, method, first_of(data, FEW))
        for precision in ("bf16", "tf32"):
            measure(rows, method, data, precision)


def measure(rows: Rows, method: str, data: TrainingData, precision: str) -> None:
    """Write the row of a few epochs of the trainer, whose steps are a CUDA graph on a card."""
    name = f"{method}, {precision}"
    with rows.attempt(name):
        peak_memory(reset=True)
        recipe = recipe_for(method, options(epochs=EPOCHS, warmup_epochs=1, precision=precision))
        first, seconds, loss = epochs_of_trainer(method, recipe, data)
        found = {"epoch s": seconds, "first epoch s": first, "last loss": loss}
        rows.add(name, **found, **{"GiB at most": peak_memory()})


def eager(rows: Rows, method: str, few: TrainingData) -> None:
    """Write how long an epoch without graphs would take, and how far a short training is apart."""
    name = f"{method}, fp32, without CUDA graphs"
    with rows.attempt(name):
        recipe = recipe_for(method, options(epochs=2, warmup_epochs=1))
        trainers = [
            Trainer(TrainingJob(method, recipe, few, 0, device(), cuda_graphs))
            for cuda_graphs in (True, False)
        ]
        seconds = {}
        for way, trainer in zip(("graphs", "eager"), trainers, strict=True):
            torch.manual_seed(0)
            trainer.plan.train()
            trainer.pass_over_videos(1)
            wait()
            began = time.perf_counter()
            trainer.pass_over_videos(2)
            wait()
            seconds[way] = (time.perf_counter() - began) * TRAIN / len(few.train.inputs)
        states = [trainer.plan.state_dict() for trainer in trainers]
        apart = max(float((states[0][key] - states[1][key]).abs().max()) for key in states[0])
        found = {"epoch s": seconds["eager"], "of short epochs with graphs": seconds["graphs"]}
        rows.add(name, **found, **{"weights apart": apart})


def epochs_of_trainer(
    method: str, recipe: Recipe, data: TrainingData
) -> tuple[float, float, float]:
    """Return the seconds of the first epoch and of the fastest other, and the last loss."""
    trainer = Trainer(TrainingJob(method, recipe, data, 0, device()))
    with tempfile.TemporaryDirectory() as folder:
        trainer.run(Path(folder) / "state.pt", math.inf)
    curve = trainer.progress.curve
    seconds = [row["seconds"] for row in curve]
    return seconds[0], min(seconds[1:]), curve[-1]["loss"]


if __name__ == "__main__":
    # The trainer's, whatever comes first.
    torch.use_deterministic_algorithms(True)
    main()
