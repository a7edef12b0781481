"""The trainer: one recipe, one seed, validated every epoch, resumed after a kill bit for bit."""

import csv
import io
import logging
import math
import os
import pickle
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.core.errors import PipelineError
from pipeline.core.files import atomic_path, fingerprint, write_text
from pipeline.core.progress import track
from pipeline.evaluation.evaluate import SplitPredictions, write_metrics
from pipeline.evaluation.metrics import score
from pipeline.parsers.checkpoint import Checkpoint, write_checkpoint
from pipeline.parsers.prediction import decide, parse_videos
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import PARSERS_VERSION, build_network
from pipeline.training.dataset import TrainingData
from pipeline.training.optimisation import build_optimiser, learning_rate
from pipeline.training.predict import write_split_predictions

logger = logging.getLogger(__name__)

# Seconds between two writings of the state that a killed run resumes from.
SAVE_EVERY_SECONDS = 20.0
STATE_FILE = "training_state.pt"

CurveRow = dict[str, float]


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on what, from which seed.

    Attributes
    ----------
    method, recipe, seed
        What is trained and how.
    dataset
        Features, labels and truth.
    device
        Where.
    """

    method: str
    recipe: Recipe
    dataset: TrainingData
    seed: int
    device: torch.device

    @cached_property
    def identity(self) -> str:
        """A fingerprint of all that decides the result; of the code, its version."""
        how = [self.method, self.recipe.model_dump(), self.seed, self.device.type]
        return fingerprint([PARSERS_VERSION, *how, self.dataset.digest])

    @property
    def name(self) -> str:
        """The job in the words of a log line."""
        return f"{self.method} seed {self.seed}"


@dataclass
class TrainingProgress:
    """How far a job is.

    Attributes
    ----------
    epoch
        Last whole epoch; 0 before the first.
    best_epoch, best_score, best_weights
        The epoch kept so far: highest validation segment-level Type@AV, in percent.
    curve
        One row an epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurveRow] = field(default_factory=list)


class Trainer:
    """Trains one job; everything an epoch depends on can be saved and brought back.

    Features lie on the device whole, batches are taken by indexing, and only operations run that
    repeat bit for bit on a machine.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.recipe = job.recipe
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(job.seed)
        self.parser = build_network(job.method, job.dataset.dimensions, job.recipe).to(job.device)
        self.forward = torch.compile(self.parser) if job.recipe.compiled else self.parser
        self.optimiser = build_optimiser(self.parser, job.recipe)
        self.shuffling = torch.Generator().manual_seed(job.seed)
        self.inputs = job.dataset.train.inputs.to(job.device)
        self.targets = job.dataset.train.targets.to(job.device)
        self.val_inputs = job.dataset.evaluated["val"].inputs.to(job.device)
        self.progress = TrainingProgress()

    def run(self, state_path: Path, save_every_seconds: float = SAVE_EVERY_SECONDS) -> None:
        """Train to the last epoch, from ``state_path`` where a killed run left it.

        Raises
        ------
        PipelineError
            A loss term is not finite.
        """
        self.restore(state_path)
        epochs = range(self.progress.epoch + 1, self.recipe.epochs + 1)
        saved = time.monotonic()
        with logging_redirect_tqdm():
            for epoch in track(epochs, len(epochs), f"train {self.job.name}", "epochs"):
                self.run_epoch(epoch)
                if time.monotonic() - saved >= save_every_seconds:
                    self.save(state_path)
                    saved = time.monotonic()

    def run_epoch(self, epoch: int) -> None:
        """Train and validate once, and note how it went."""
        start = time.monotonic()
        rate = learning_rate(self.recipe, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        terms = self.pass_over_videos(epoch)
        row = {"epoch": epoch, "lr": rate, "loss": sum(terms.values()), **terms, **self.validate()}
        self._note(row | {"seconds": time.monotonic() - start}, terms)

    def pass_over_videos(self, epoch: int) -> CurveRow:
        """Take one pass in a new order; return each loss term's mean over videos."""
        self.parser.train()
        order = torch.randperm(len(self.inputs), generator=self.shuffling).to(self.job.device)
        sums: list[Tensor] = []
        for rows in order.split(self.recipe.batch_size):
            with torch.autocast(self.job.device.type, torch.bfloat16, self._in_bf16):
                output = self.forward(self.inputs.take(rows)).float()
            terms = self.parser.loss_terms(output, self.targets.take(rows))
            values = torch.stack(list(terms.values()))
            sums.append(values.detach().double() * len(rows))
            self._step(values.sum())
        # Looked at once a pass: to look at every step would make a GPU wait for each.
        history = torch.stack(sums).cpu()
        self._check_finite(history, list(terms), epoch)
        return dict(zip(terms, (history.sum(0) / len(self.inputs)).tolist(), strict=True))

    def _check_finite(self, history: Tensor, names: list[str], epoch: int) -> None:
        """Refuse a pass whose terms [steps, terms] were not all finite; name the first."""
        broken = (~history.isfinite()).nonzero()
        if len(broken):
            step, term = broken[0].tolist()
            raise PipelineError(
                f"the loss term '{names[term]}' is {history[step, term].item()} in epoch {epoch} "
                f"of seed {self.job.seed}; look for values in the features that are not finite, "
                "or lower learning_rate."
            )

    def validate(self) -> CurveRow:
        """Return Type@AV of both levels on the validation videos, in percent."""
        predicted = decide(parse_videos(self.parser, self.val_inputs, self.recipe), self.recipe)
        metrics = score(*self.job.dataset.evaluated["val"].truth, *predicted).metrics()
        return {f"val_{level}_type": metrics[level]["type"] for level in ("segment", "event")}

    def checkpoint(self) -> Checkpoint:
        """Return the best epoch so far."""
        return Checkpoint(
            method=self.job.method,
            recipe=self.recipe,
            seed=self.job.seed,
            dimensions=self.job.dataset.dimensions,
            classes=self.job.dataset.vocabulary.names,
            epoch=self.progress.best_epoch,
            score=self.progress.best_score,
            fingerprints=self.job.dataset.fingerprints,
            weights=self.progress.best_weights,
        )

    def save(self, path: Path) -> None:
        """Write all that the next epoch depends on, atomically."""
        state = {
            "identity": self.job.identity,
            "progress": vars(self.progress),
            "parser": self.parser.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shuffling": self.shuffling.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.job.device) if self._on_cuda else None,
        }
        # An open file: of a path, torch would not say why it cannot be written.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Bring a killed run's state back; another job's, or a broken one, is left aside."""
        state = _read_state(path) if path.is_file() else None
        if state is None:
            return
        if state.get("identity") != self.job.identity:
            logger.info("'%s' is of another recipe or other data; training starts anew", path)
            return
        self.parser.load_state_dict(state["parser"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.shuffling.set_state(state["shuffling"])
        torch.set_rng_state(state["random"])
        if self._on_cuda:
            torch.cuda.set_rng_state(state["random_cuda"], self.job.device)
        self.progress = TrainingProgress(**state["progress"])
        done, epochs = self.progress.epoch, self.recipe.epochs
        logger.info("%s: carrying on after epoch %d of %d", self.job.name, done, epochs)

    @property
    def _on_cuda(self) -> bool:
        return self.job.device.type == "cuda"

    @property
    def _in_bf16(self) -> bool:
        return self.recipe.precision == "bf16"

    def _step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.parser.parameters(), self.recipe.clip_norm)
        self.optimiser.step()

    def _note(self, row: CurveRow, terms: CurveRow) -> None:
        """Add an epoch to the curve, keep its weights when it is the best, and log it."""
        progress, reached = self.progress, row["val_segment_type"]
        progress.epoch = int(row["epoch"])
        progress.curve.append(row)
        is_tie = reached == progress.best_score and self.recipe.ties == "last"
        if reached > progress.best_score or is_tie:
            progress.best_epoch, progress.best_score = progress.epoch, reached
            weights = self.parser.state_dict().items()
            progress.best_weights = {name: weight.cpu().clone() for name, weight in weights}
        logger.info(
            "%s, epoch %d/%d: lr %.2e, loss %.4f (%s), "
            "val Type@AV %.2f segment, %.2f event, %.2f s",
            self.job.name,
            progress.epoch,
            self.recipe.epochs,
            row["lr"],
            row["loss"],
            ", ".join(f"{name} {value:.4f}" for name, value in terms.items()),
            reached,
            row["val_event_type"],
            row["seconds"],
        )


def _read_state(path: Path) -> dict[str, Any] | None:
    """Return a saved state, or None where the file is not one: to train again mends that."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, OSError):
        state = None
    if not isinstance(state, dict):
        logger.warning("'%s' cannot be read; training starts anew", path)
        return None
    return state


def train(
    job: TrainingJob,
    out: Path,
    fit_only: bool = False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
) -> None:
    """Train a parser and leave it, its curve and its results in a folder.

    Parameters
    ----------
    job
        What is trained, on what, from which seed.
    out
        Gets checkpoint.safetensors and curve.csv; unless ``fit_only`` also metrics.json of val
        and test, and their predicted events and probabilities. The state to resume from is left
        there too, whole: with it the same job is done again without training.
    save_every_seconds
        How often that state is written.

    Raises
    ------
    PipelineError
        A loss is no longer finite.
    """
    trainer = Trainer(job)
    trainer.run(out / STATE_FILE, save_every_seconds)
    trainer.save(out / STATE_FILE)
    write_checkpoint(out, trainer.checkpoint())
    write_curve(out / "curve.csv", trainer.progress.curve)
    if not fit_only:
        write_results(out, trainer.checkpoint(), job.dataset, job.device)


def write_curve(path: Path, curve: list[CurveRow]) -> None:
    """Write the curve as a CSV: epoch, lr, loss, each term, both validation scores, seconds."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(curve[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    write_text(path, text.getvalue())


def write_results(
    out: Path, checkpoint: Checkpoint, data: TrainingData, device: torch.device
) -> None:
    """Parse and score val and test; write metrics.json, predicted events and probabilities."""
    videos = {split: (each.names, each.inputs) for split, each in data.evaluated.items()}
    predicted = write_split_predictions(checkpoint, videos, data.vocabulary, out, device)
    predictions = {
        split: SplitPredictions(each.names, np.stack(each.truth), predicted[split])
        for split, each in data.evaluated.items()
    }
    write_metrics(out, predictions, data.vocabulary)
