"""Seconds of an epoch at LLP's size: the trainer's own, and its steps as a CUDA graph."""

import math
import os
import tempfile
from pathlib import Path

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"

import torch
from harness import Rows, device, multiplied, peak_memory, rows_of_part
from llp_size import llp_data, options
from steps import Steps

from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import Trainer, TrainingJob

METHODS = ("valorpp", "link")
EPOCHS = 2


def main() -> None:
    """Write a row for every method and way to train it."""
    rows = rows_of_part()
    for method in METHODS:
        data = llp_data(recipe_for(method, {}))
        for precision in ("fp32", "tf32", "bf16"):
            measure(rows, method, data, precision)
        if device().type == "cuda":
            graphs(rows, method, data)


def measure(rows: Rows, method: str, data: TrainingData, precision: str) -> None:
    """Write the row of a few epochs of the trainer."""
    name = f"{method}, {precision}"
    with rows.attempt(name), multiplied(precision):
        peak_memory(reset=True)
        halved = {"precision": "bf16"} if precision == "bf16" else {}
        recipe = recipe_for(method, options(epochs=EPOCHS, warmup_epochs=1, **halved))
        first, seconds, loss = epochs_of_trainer(method, recipe, data)
        found = {"epoch s": seconds, "first epoch s": first, "last loss": loss}
        rows.add(name, **found, **{"GiB at most": peak_memory()})


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


def graphs(rows: Rows, method: str, data: TrainingData) -> None:
    """Write the rows of steps alone, eager and as a graph; without dropout both must agree."""
    for precision in ("fp32", "bf16"):
        name = f"{method}, steps alone, {precision}"
        with rows.attempt(name):
            recipe = recipe_for(method, options(precision=precision, dropout=0, **no_drop(method)))
            eager, captured = (Steps(method, recipe, data, [0], device()) for _ in range(2))
            captured.capture()
            pairs = [(eager.epoch(), captured.epoch()) for _ in range(2)]
            (slow, expected), (fast, found) = pairs[-1]
            apart = max(
                float((each - captured.weights[key]).detach().abs().max())
                for key, each in eager.weights.items()
            )
            rows.add(name, **{"epoch s": slow, "last loss": float(expected)})
            more = {"loss - eager's": float(found - expected), "weights apart": apart}
            rows.add(f"{name}, CUDA graph", **{"epoch s": fast, "last loss": float(found)}, **more)


def no_drop(method: str) -> dict[str, object]:
    """Return the options that turn LINK's own dropout off."""
    return {"text_dropout": 0} if method == "link" else {}


if __name__ == "__main__":
    # The trainer's, whatever comes first.
    torch.use_deterministic_algorithms(True)
    main()
