"""Train one recipe with one seed, validate every epoch, and resume interrupted runs exactly."""

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

# Seconds between writes of the state that an interrupted run resumes from.
SAVE_EVERY_SECONDS = 20.0
STATE_FILE = "training_state.pt"

CurveRow = dict[str, float]


@dataclass(frozen=True)
class TrainingJob:
    """A method to train, its data and its seed.

    Attributes
    ----------
    method, recipe, seed
        The method and how it is trained.
    dataset
        Features, labels and ground truth.
    device
        Device to train on.
    """

    method: str
    recipe: Recipe
    dataset: TrainingData
    seed: int
    device: torch.device

    @cached_property
    def identity(self) -> str:
        """Fingerprint of everything that determines the result; the code counts by version."""
        settings = [self.method, self.recipe.model_dump(), self.seed, self.device.type]
        return fingerprint([PARSERS_VERSION, *settings, self.dataset.digest])

    @property
    def name(self) -> str:
        """Name of the job in log messages."""
        return f"{self.method} seed {self.seed}"


@dataclass
class TrainingProgress:
    """Progress of a job.

    Attributes
    ----------
    epoch
        Last completed epoch; 0 before the first.
    best_epoch, best_score, best_weights
        The best epoch so far: the highest segment-level Type@AV on validation, in percent.
    curve
        One row per epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurveRow] = field(default_factory=list)


class Trainer:
    """Train one job; everything an epoch depends on can be saved and restored.

    All features are on the device and batches are taken by indexing. Only deterministic operations
    are used, so a run is reproducible bit for bit on the same machine.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.recipe = job.recipe
        # Required by cuBLAS for deterministic results.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
        """Train to the last epoch, resuming from ``state_path`` if it exists.

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
        """Train for one epoch, validate, and record the result."""
        start = time.monotonic()
        rate = learning_rate(self.recipe, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        terms = self.pass_over_videos(epoch)
        row = {"epoch": epoch, "lr": rate, "loss": sum(terms.values()), **terms, **self.validate()}
        self._record(row | {"seconds": time.monotonic() - start}, terms)

    def pass_over_videos(self, epoch: int) -> CurveRow:
        """Train on all videos once, in a new random order; return the mean of each loss term."""
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
        # Checked once per epoch: checking every step would synchronise the GPU each time.
        history = torch.stack(sums).cpu()
        self._check_finite(history, list(terms), epoch)
        return dict(zip(terms, (history.sum(0) / len(self.inputs)).tolist(), strict=True))

    def _check_finite(self, history: Tensor, names: list[str], epoch: int) -> None:
        """Raise PipelineError for the first loss term [steps, terms] that is not finite."""
        not_finite = (~history.isfinite()).nonzero()
        if len(not_finite):
            step, term = not_finite[0].tolist()
            raise PipelineError(
                f"the loss term '{names[term]}' is {history[step, term].item()} in epoch {epoch} "
                f"of seed {self.job.seed}; check the features for values that are not finite, or "
                "lower learning_rate."
            )

    def validate(self) -> CurveRow:
        """Return segment-level and event-level Type@AV on validation, in percent."""
        predicted = decide(parse_videos(self.parser, self.val_inputs, self.recipe), self.recipe)
        metrics = score(*self.job.dataset.evaluated["val"].truth, *predicted).metrics()
        return {f"val_{level}_type": metrics[level]["type"] for level in ("segment", "event")}

    def checkpoint(self) -> Checkpoint:
        """Return a checkpoint of the best epoch so far."""
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
        """Write everything the next epoch depends on, atomically."""
        state = {
            "identity": self.job.identity,
            "progress": vars(self.progress),
            "parser": self.parser.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shuffling": self.shuffling.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.job.device) if self._on_cuda else None,
        }
        # Given a path, torch would hide the reason why a write fails.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Restore the state of an interrupted run; ignore an unreadable state or another job's."""
        state = _read_state(path) if path.is_file() else None
        if state is None:
            return
        if state.get("identity") != self.job.identity:
            logger.info(
                "'%s' belongs to a different recipe or dataset; starting from scratch", path
            )
            return
        self.parser.load_state_dict(state["parser"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.shuffling.set_state(state["shuffling"])
        torch.set_rng_state(state["random"])
        if self._on_cuda:
            torch.cuda.set_rng_state(state["random_cuda"], self.job.device)
        self.progress = TrainingProgress(**state["progress"])
        done, epochs = self.progress.epoch, self.recipe.epochs
        logger.info("%s: resuming after epoch %d of %d", self.job.name, done, epochs)

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

    def _record(self, row: CurveRow, terms: CurveRow) -> None:
        """Add an epoch to the curve, keep its weights if it is the best so far, and log it."""
        progress, current = self.progress, row["val_segment_type"]
        progress.epoch = int(row["epoch"])
        progress.curve.append(row)
        is_tie = current == progress.best_score and self.recipe.ties == "last"
        if current > progress.best_score or is_tie:
            progress.best_epoch, progress.best_score = progress.epoch, current
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
            current,
            row["val_event_type"],
            row["seconds"],
        )


def _read_state(path: Path) -> dict[str, Any] | None:
    """Return a saved state, or None if the file cannot be read; training then starts over."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, OSError):
        state = None
    if not isinstance(state, dict):
        logger.warning("'%s' is corrupt or truncated; starting from scratch", path)
        return None
    return state


def train(
    job: TrainingJob,
    out: Path,
    fit_only: bool = False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
) -> None:
    """Train a parser and write its checkpoint, training curve and results.

    Parameters
    ----------
    job
        The method, its data and its seed.
    out
        Output folder for checkpoint.safetensors, curve.csv and the final training state. With that
        state, the same job can be repeated without training.
    fit_only
        Skip metrics.json and the predicted events and probabilities of val and test.
    save_every_seconds
        Interval between writes of the training state.

    Raises
    ------
    PipelineError
        A loss term is not finite.
    """
    trainer = Trainer(job)
    trainer.run(out / STATE_FILE, save_every_seconds)
    trainer.save(out / STATE_FILE)
    write_checkpoint(out, trainer.checkpoint())
    write_curve(out / "curve.csv", trainer.progress.curve)
    if not fit_only:
        write_results(out, trainer.checkpoint(), job.dataset, job.device)


def write_curve(path: Path, curve: list[CurveRow]) -> None:
    """Write the training curve as CSV: epoch, lr, loss, its terms, validation scores, seconds."""
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
