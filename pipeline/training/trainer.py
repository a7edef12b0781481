"""Train one recipe with one seed, validate every epoch, and resume interrupted runs exactly."""

import logging
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.core.devices import tf32
from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.core.progress import track
from pipeline.parsers.checkpoint import Checkpoint, write_checkpoint
from pipeline.parsers.interface import ParserNetwork
from pipeline.parsers.plan import Batch, Phase
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import PARSERS_VERSION, build_plan
from pipeline.training.cuda_graphs import CapturedStep
from pipeline.training.dataset import TrainingData
from pipeline.training.optimisation import (
    build_optimiser,
    check_weights,
    learning_rate,
    load_optimiser,
    set_learning_rate,
)
from pipeline.training.recombination import recombined
from pipeline.training.results import CurveRow, write_curve, write_results
from pipeline.training.states import (
    SAVE_EVERY_SECONDS,
    STATE_FILE,
    copy_of_weights,
    random_states,
    read_state,
    restore_random_states,
    write_state,
)
from pipeline.training.validation import ValidationVideos

logger = logging.getLogger(__name__)


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
    cuda_graphs
        Whether a GPU replays the steps of full batches as a CUDA graph where the method allows it:
        much faster, and the same result bit for bit.
    """

    method: str
    recipe: Recipe
    dataset: TrainingData
    seed: int
    device: torch.device
    cuda_graphs: bool = True

    @cached_property
    def identity(self) -> str:
        """Fingerprint of everything that determines the result; the code counts by version."""
        # The optimisers of GPUs once rounded otherwise.
        device = "cuda, rate as a tensor" if self.device.type == "cuda" else self.device.type
        settings = [self.method, self.recipe.model_dump(), self.seed, device]
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
    phase
        Index of the current phase; the number of phases when training is done.
    epoch
        Last completed epoch of the phase; 0 before the first.
    best_epoch, best_score, best_weights
        The best epoch of the phase so far, by the phase's selection, and the weights of its part.
    best_type
        Segment-level Type@AV of that epoch on validation, in percent.
    curve
        One row per epoch.
    """

    phase: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_type: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurveRow] = field(default_factory=list)


class Trainer:
    """Train one job; everything an epoch depends on can be saved and restored.

    The method's plan says what is trained; the trainer runs its phases. All features are on the
    device and batches are taken by indexing. Only deterministic operations are used, so a run is
    reproducible bit for bit on the same machine.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.recipe = job.recipe
        # Required by cuBLAS for deterministic results.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory before it is written, and filling it takes a kernel each time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(job.seed)
        self.plan = build_plan(job.method, job.dataset.dimensions, job.recipe).to(job.device)
        self.phases = self.plan.phases()
        train = job.dataset.train
        inputs, targets = recombined(train.inputs, train.targets, self.recipe.recombined, job.seed)
        self.inputs, self.targets = inputs.to(job.device), targets.to(job.device)
        self.validation = ValidationVideos(job.dataset.evaluated["val"], job.recipe, job.device)
        self.shuffling = torch.Generator().manual_seed(job.seed)
        self.progress = TrainingProgress()
        self._begin_phase()
        if self._on_cuda and job.cuda_graphs and not self.plan.can_be_captured:
            logger.info("%s: its steps cannot become a CUDA graph; they run one by one", job.name)

    @property
    def parser(self) -> ParserNetwork[Any]:
        """The network that is trained for."""
        return self.plan.parser

    @property
    def phase(self) -> Phase:
        """The current phase; the last one when training is done."""
        return self.phases[self._phase_index]

    @property
    def _phase_index(self) -> int:
        return min(self.progress.phase, len(self.phases) - 1)

    @property
    def _epochs_before(self) -> int:
        """Epochs of the phases before the current one; the curve counts through all phases."""
        return sum(phase.epochs for phase in self.phases[: self._phase_index])

    def run(self, state_path: Path, save_every_seconds: float = SAVE_EVERY_SECONDS) -> None:
        """Train all phases to their last epoch, resuming from ``state_path`` if it exists.

        Raises
        ------
        PipelineError
            A loss term, a weight or a probability is not finite.
        """
        self.restore(state_path)
        saved = time.monotonic()
        with logging_redirect_tqdm():
            while self.progress.phase < len(self.phases):
                for epoch in self._epochs_left():
                    self.run_epoch(epoch)
                    if time.monotonic() - saved >= save_every_seconds:
                        self.save(state_path)
                        saved = time.monotonic()
                self.end_phase()

    def _epochs_left(self) -> Iterable[int]:
        epochs = range(self.progress.epoch + 1, self.phase.epochs + 1)
        name = f"train {self.job.name}"
        if len(self.phases) > 1:
            name += f", {self.phase.name}"
        return track(epochs, len(epochs), name, "epochs")

    def _begin_phase(self) -> None:
        """Build the phase's optimisers and let the plan prepare it."""
        phase = self.phase
        if phase.reseeded:
            torch.manual_seed(self.job.seed)
            self.shuffling.manual_seed(self.job.seed)
        self.plan.prepare(phase, self.inputs, self.targets)
        self._build_optimisers()

    def _build_optimisers(self) -> None:
        self.optimised = {
            name: self.plan.get_submodule(part) for name, part in self.phase.optimised.items()
        }
        rate_on = self.job.device if self._on_cuda else None
        self.optimisers = {
            name: build_optimiser(module, self.recipe, rate_on)
            for name, module in self.optimised.items()
        }
        self._captured: CapturedStep | None = None

    def end_phase(self) -> None:
        """Bring back the phase's best weights, let the plan finish it, and begin the next one."""
        progress, phase = self.progress, self.phase
        self.plan.get_submodule(phase.part).load_state_dict(progress.best_weights)
        self.plan.finish(phase, self.inputs, self.targets, self.validation)
        check_weights(self.plan, self._when(progress.epoch))
        progress.phase += 1
        if progress.phase < len(self.phases):
            progress.epoch, progress.best_epoch = 0, 0
            progress.best_score, progress.best_type = -math.inf, -math.inf
            progress.best_weights = {}
            self._begin_phase()

    def run_epoch(self, epoch: int) -> None:
        """Train for one epoch of the phase, and end it."""
        start = time.monotonic()
        rate = learning_rate(self.recipe, epoch, self.phase.epochs)
        for optimiser in self.optimisers.values():
            set_learning_rate(optimiser, rate)
        with tf32(self.recipe.precision == "tf32"):
            terms = self.pass_over_videos(epoch)
        self.end_epoch(epoch, rate, terms, start)

    def end_epoch(
        self, epoch: int, rate: float, terms: CurveRow, start: float, shared_by: int = 1
    ) -> None:
        """Validate after an epoch, and record it.

        Parameters
        ----------
        epoch, rate, terms
            The epoch, its learning rate and its mean loss terms.
        start
            When it began, by ``time.monotonic``.
        shared_by
            Seeds that were trained since then, of whose seconds each gets its share.
        """
        scores = self.validate()
        self.plan.after_epoch(self.phase, epoch, self.validation)
        row = {"phase": self.progress.phase + 1.0} if len(self.phases) > 1 else {}
        row |= {
            "epoch": self._epochs_before + epoch,
            "lr": rate,
            "loss": sum(terms.values()),
            **terms,
            **scores,
        }
        self.progress.epoch = epoch
        seconds = (time.monotonic() - start) / shared_by
        self._record(row | {"seconds": seconds}, terms)

    def pass_over_videos(self, epoch: int) -> CurveRow:
        """Train on all videos once, in a new random order; return the mean of each loss term."""
        self.plan.train()
        sums: list[Tensor] = []
        names: list[str] = []
        for index, rows in enumerate(self.new_order().split(self.recipe.batch_size)):
            if captured := self._captured_for(rows):
                names = captured.names
                sums.append(captured(rows).double() * len(rows))
                continue
            terms = self._train_on_rows(rows, epoch, index)
            names = names or list(terms)
            sums.append(torch.stack([terms[name] for name in names]).double() * len(rows))
        # Checked once per epoch: checking every step would synchronise the GPU each time.
        return self.mean_terms(torch.stack(sums).cpu(), names, epoch)

    def mean_terms(self, history: Tensor, names: list[str], epoch: int) -> CurveRow:
        """Return the mean of each loss term over an epoch's videos, from its sums [steps, terms].

        Raises
        ------
        PipelineError
            A term or a weight is not finite.
        """
        self._check_finite(history, names, epoch)
        check_weights(self.plan, self._when(epoch))
        return dict(zip(names, (history.sum(0) / len(self.inputs)).tolist(), strict=True))

    def new_order(self) -> Tensor:
        """Draw an order of the training videos."""
        return torch.randperm(len(self.inputs), generator=self.shuffling).to(self.job.device)

    def _captured_for(self, rows: Tensor) -> CapturedStep | None:
        """Return the CUDA graph of a step on a batch as large as these rows, if there is to be one.

        The last, partial batch of an epoch is trained on eagerly.
        """
        if not (self._on_cuda and self.job.cuda_graphs and len(rows) == self.recipe.batch_size):
            return None
        if not self.plan.can_be_captured:
            return None
        if self._captured is None:
            tensors = [*self.plan.parameters(), *self.plan.buffers()]
            step = partial(self._train_on_rows, epoch=0, index=0)
            self._captured = CapturedStep(step, rows, tensors, self.optimisers.values())
        return self._captured

    def _train_on_rows(self, rows: Tensor, epoch: int, index: int) -> dict[str, Tensor]:
        return self._train_on(Batch(self.inputs.take(rows), self.targets.take(rows), epoch, index))

    def _train_on(self, batch: Batch) -> dict[str, Tensor]:
        """Make the plan's updates for a batch; return all loss terms, detached."""
        terms: dict[str, Tensor] = {}
        for update in self.plan.steps(self.phase, batch):
            self._step(update.optimiser, torch.stack(list(update.terms.values())).sum())
            terms |= {name: term.detach() for name, term in update.terms.items()}
        return terms

    def _check_finite(self, history: Tensor, names: list[str], epoch: int) -> None:
        """Raise PipelineError for the first loss term [steps, terms] that is not finite."""
        not_finite = (~history.isfinite()).nonzero()
        if len(not_finite):
            step, term = not_finite[0].tolist()
            raise PipelineError(
                f"the loss term '{names[term]}' is {history[step, term].item()} in "
                f"{self._when(epoch)}; lower learning_rate."
            )

    def _when(self, epoch: int) -> str:
        phase = f" of {self.phase.name}" if len(self.phases) > 1 else ""
        return f"epoch {epoch}{phase} of {self.job.name}"

    def validate(self) -> CurveRow:
        """Return Type@AV and the phase's selection metric on validation, in percent."""
        return self.validation.scores(self.plan.validated(self.phase), self.phase.selection)

    def checkpoint(self) -> Checkpoint:
        """Return a checkpoint of the trained parser."""
        dataset = self.job.dataset
        return Checkpoint(
            method=self.job.method,
            recipe=self.recipe,
            seed=self.job.seed,
            dimensions=dataset.dimensions,
            classes=dataset.vocabulary.names,
            epoch=self._epochs_before + self.progress.best_epoch,
            score=self.progress.best_type,
            fingerprints=dataset.fingerprints,
            encoders=dataset.encoders,
            weights=copy_of_weights(self.plan.parser),
        )

    def save(self, path: Path) -> None:
        """Write everything the next epoch depends on, atomically."""
        state = {
            "identity": self.job.identity,
            "progress": vars(self.progress),
            "plan": self.plan.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
            **random_states(self.shuffling, self.job.device),
        }
        write_state(path, state)

    def restore(self, path: Path) -> None:
        """Restore the state of an interrupted run; ignore an unreadable state or another job's."""
        state = read_state(path, self.job.identity)
        if state is None:
            return
        self.progress = TrainingProgress(**state["progress"])
        self._build_optimisers()
        self.plan.load_state_dict(state["plan"])
        for name, optimiser in self.optimisers.items():
            load_optimiser(optimiser, state["optimisers"][name], self.job.device)
        restore_random_states(state, self.shuffling, self.job.device)
        done, epochs = self.progress.epoch, self.phase.epochs
        logger.info("%s: resuming after epoch %d of %d", self.job.name, done, epochs)

    @property
    def _on_cuda(self) -> bool:
        return self.job.device.type == "cuda"

    def _step(self, name: str, loss: Tensor) -> None:
        """Make one step of an optimiser."""
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.optimised[name].parameters(), self.recipe.clip_norm)
        optimiser.step()

    def _record(self, row: CurveRow, terms: CurveRow) -> None:
        """Add an epoch to the curve, keep its weights if it is the best so far, and log it."""
        self.progress.curve.append(row)
        self._keep_best(row)
        # Epochs of processes would interleave; each seed has its curve.
        logger.log(
            logging.INFO if parent_process() is None else logging.DEBUG,
            "%s, epoch %d/%d: lr %.2e, loss %.4f (%s), "
            "val Type@AV %.2f segment, %.2f event, %.2f s",
            self.job.name,
            self.progress.epoch,
            self.phase.epochs,
            row["lr"],
            row["loss"],
            ", ".join(f"{name} {value:.4f}" for name, value in terms.items()),
            row["val_segment_type"],
            row["val_event_type"],
            row["seconds"],
        )

    def _keep_best(self, row: CurveRow) -> None:
        """Keep the weights of an epoch if it is the phase's best so far."""
        progress, phase = self.progress, self.phase
        current = row[f"val_{phase.selection}"]
        is_tie = current == progress.best_score and self.recipe.ties == "last"
        if current > progress.best_score or is_tie:
            progress.best_epoch, progress.best_score = progress.epoch, current
            progress.best_type = row["val_segment_type"]
            progress.best_weights = copy_of_weights(self.plan.get_submodule(phase.part))


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
        A loss term, a weight or a probability is not finite.
    """
    trainer = Trainer(job)
    trainer.run(out / STATE_FILE, save_every_seconds)
    trainer.save(out / STATE_FILE)
    write_trained(trainer, out, fit_only)


def write_trained(trainer: Trainer, out: Path, fit_only: bool = False) -> None:
    """Write the checkpoint, training curve and results of a trainer that is done."""
    write_checkpoint(out, trainer.checkpoint())
    write_curve(out / "curve.csv", trainer.progress.curve)
    if not fit_only:
        write_results(out, trainer.checkpoint(), trainer.job.dataset, trainer.job.device)
