"""Train UWAV's temporal label network on densely labelled videos (stage 1; Lai et al., CVPR 2025).

The supervision is dense: which class is heard and seen in which second of UnAV-100's videos (or of
another dataset in its format). A run resumes exactly after a kill, as a parser's does.
"""

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.core.errors import PipelineError
from pipeline.core.files import fingerprint
from pipeline.core.progress import track
from pipeline.data.annotations import Labels
from pipeline.evaluation.metrics import score
from pipeline.labels.teacher import Teacher, TeacherRecord, write_teacher
from pipeline.labels.teacher_options import TEACHER_VERSION, TeacherOptions
from pipeline.labels.temporal import TemporalNetwork, heard_and_seen, temporal_loss
from pipeline.parsers.recipes import Recipe
from pipeline.training.dense_videos import DenseData, DenseVideos
from pipeline.training.optimisation import (
    build_optimiser,
    check_weights,
    learning_rate,
    set_learning_rate,
)
from pipeline.training.results import CurveRow, write_curve
from pipeline.training.states import (
    SAVE_EVERY_SECONDS,
    STATE_FILE,
    copy_of_weights,
    random_states,
    read_state,
    restore_random_states,
    write_state,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherJob:
    """A teacher to train: its options, data, seed and device."""

    options: TeacherOptions
    data: DenseData
    seed: int
    device: torch.device

    @cached_property
    def identity(self) -> str:
        """Fingerprint of everything that determines the result; the code counts by version."""
        settings = [self.options.model_dump(), self.seed, self.device.type]
        return fingerprint([TEACHER_VERSION, *settings, self.data.digest])


@dataclass
class TeacherProgress:
    """Progress of a job.

    Attributes
    ----------
    epoch
        Last completed epoch; 0 before the first.
    best_epoch, best_score, best_weights
        The first epoch with the highest segment-level F1 of heard-and-seen events, in percent.
    curve
        One row per epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curve: list[CurveRow] = field(default_factory=list)


class TeacherTrainer:
    """Train one job; everything an epoch depends on can be saved and restored."""

    def __init__(self, job: TeacherJob) -> None:
        self.job = job
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(job.seed)
        audio, visual = job.data.texts
        network = TemporalNetwork(audio.shape[1], visual.shape[1], job.options)
        self.network = network.to(job.device)
        self.texts = audio.float().to(job.device), visual.float().to(job.device)
        self.schedule = optimisation(job.options)
        self.optimiser = build_optimiser(self.network, self.schedule)
        self.shuffling = torch.Generator().manual_seed(job.seed)
        self.progress = TeacherProgress()

    def run(self, state_path: Path, save_every_seconds: float = SAVE_EVERY_SECONDS) -> None:
        """Train to the last epoch, resuming from ``state_path`` if it exists.

        Raises
        ------
        PipelineError
            The loss is not finite.
        """
        self.restore(state_path)
        epochs = range(self.progress.epoch + 1, self.job.options.epochs + 1)
        saved = time.monotonic()
        with logging_redirect_tqdm():
            for epoch in track(epochs, len(epochs), "train teacher", "epochs"):
                self.run_epoch(epoch)
                if time.monotonic() - saved >= save_every_seconds:
                    self.save(state_path)
                    saved = time.monotonic()

    def run_epoch(self, epoch: int) -> None:
        """Train for one epoch, validate, and record the result."""
        start, progress = time.monotonic(), self.progress
        rate = learning_rate(self.schedule, epoch)
        set_learning_rate(self.optimiser, rate)
        loss = self.pass_over_videos(epoch)
        current = self.validate()
        progress.epoch = epoch
        if current > progress.best_score:
            progress.best_epoch, progress.best_score = epoch, current
            progress.best_weights = copy_of_weights(self.network)
        seconds = time.monotonic() - start
        row = {"epoch": epoch, "lr": rate, "loss": loss, "val_segment_f1": current}
        progress.curve.append(row | {"seconds": seconds})
        logger.info(
            "teacher, epoch %d/%d: lr %.2e, loss %.4f, val audio-visual segment F1 %.2f, %.2f s",
            *(epoch, self.job.options.epochs, rate, loss, current, seconds),
        )

    def pass_over_videos(self, epoch: int) -> float:
        """Train on all videos once, in a new random order; return the mean loss of the batches."""
        options, videos = self.job.options, self.job.data.train
        self.network.train()
        order = torch.randperm(len(videos), generator=self.shuffling)
        losses = []
        for rows in order.split(options.batch_size):
            batch = videos.batch(rows.tolist(), self.job.device)
            logits = self.network(batch.embeddings, self.texts, ~batch.valid)
            loss = temporal_loss(logits, batch.labels, batch.valid, options.positive_weight)
            self.optimiser.zero_grad()
            loss.backward()
            if options.clip_norm:
                nn.utils.clip_grad_norm_(self.network.parameters(), options.clip_norm)
            self.optimiser.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).double().mean().item()
        if not math.isfinite(mean):
            raise PipelineError(
                f"the teacher's loss is {mean} in epoch {epoch} of seed {self.job.seed}; lower"
                " learning_rate."
            )
        check_weights(self.network, f"epoch {epoch} of the teacher, seed {self.job.seed}")
        return mean

    def validate(self) -> float:
        """Return segment-level F1 of heard-and-seen events on validation videos, in percent."""
        videos = self.job.data.val
        predicted = self.predict(videos)
        truth = _padded(videos.labels)
        return score(truth, truth, predicted, predicted).metrics()["segment"]["audio_visual"]

    def predict(self, videos: DenseVideos) -> Labels:
        """Return predicted labels of seconds, [N, T, C] padded with 0."""
        self.network.eval()
        labels: list[Tensor] = []
        with torch.inference_mode():
            for rows in torch.arange(len(videos)).split(self.job.options.batch_size):
                batch = videos.batch(rows.tolist(), self.job.device)
                logits = self.network(batch.embeddings, self.texts, ~batch.valid)
                # At the threshold too, as in the released code.
                counts = heard_and_seen(logits) >= self.job.options.threshold
                labels += [
                    found[: int(valid.sum())].cpu()
                    for found, valid in zip(counts, batch.valid, strict=True)
                ]
        return _padded(labels)

    def teacher(self) -> Teacher:
        """Return the teacher of the best epoch so far."""
        data = self.job.data
        record = TeacherRecord(
            options=self.job.options,
            seed=self.job.seed,
            audio=data.texts[0].shape[1],
            visual=data.texts[1].shape[1],
            classes=data.classes,
            epoch=self.progress.best_epoch,
            score=self.progress.best_score,
            fingerprints=dict(data.fingerprints),
        )
        return Teacher(record, self.progress.best_weights)

    def save(self, path: Path) -> None:
        """Write everything the next epoch depends on, atomically."""
        state = {
            "identity": self.job.identity,
            "progress": vars(self.progress),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **random_states(self.shuffling, self.job.device),
        }
        write_state(path, state)

    def restore(self, path: Path) -> None:
        """Restore the state of an interrupted run; ignore an unreadable state or another job's."""
        state = read_state(path, self.job.identity)
        if state is None:
            return
        self.progress = TeacherProgress(**state["progress"])
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        restore_random_states(state, self.shuffling, self.job.device)
        logger.info(
            "teacher: resuming after epoch %d of %d", self.progress.epoch, self.job.options.epochs
        )


def train_teacher(
    job: TeacherJob, out: Path, save_every_seconds: float = SAVE_EVERY_SECONDS
) -> None:
    """Train a teacher; write ``teacher.safetensors``, ``curve.csv`` and the final training state.

    Raises
    ------
    PipelineError
        The loss is not finite.
    """
    trainer = TeacherTrainer(job)
    trainer.run(out / STATE_FILE, save_every_seconds)
    trainer.save(out / STATE_FILE)
    write_teacher(out, trainer.teacher())
    write_curve(out / "curve.csv", trainer.progress.curve)


def optimisation(options: TeacherOptions) -> Recipe:
    """Return a teacher's optimiser and schedule as a recipe: AdamW, warm-up, cosine per epoch."""
    shared = TeacherOptions.model_fields.keys() & Recipe.model_fields.keys()
    return Recipe.model_validate(options.model_dump(include=set(shared)))


def _padded(labels: Sequence[Tensor]) -> Labels:
    """Return labels [N, T, C] of videos of their own lengths [T, C], padded with 0."""
    padded = nn.utils.rnn.pad_sequence(list(labels), batch_first=True).numpy()
    return padded.astype(np.uint8)
