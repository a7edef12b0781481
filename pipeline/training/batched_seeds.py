"""Train several seeds as one batched network: each step updates the weights of all seeds.

A parser is too small to keep a GPU busy. With the weights of S seeds stacked, a step runs the same
number of operations as for one seed, each S times as large. Every seed keeps its own trainer, whose
weights become views of the stacked ones; so it validates, keeps its best epoch and writes its files
as it does alone.

A seed's result is that of training it alone up to rounding, as batched products sum in another
order; on a GPU, dropout draws other numbers too (``seed_draws``).
Axes: S seeds, B batch.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.core.devices import tf32
from pipeline.core.files import fingerprint
from pipeline.core.progress import track
from pipeline.parsers.interface import ParserInputs, ParserTargets
from pipeline.parsers.plan import PARSER, Batch, TrainingPlan
from pipeline.training.cuda_graphs import CapturedStep
from pipeline.training.optimisation import learning_rate, load_optimiser, set_learning_rate
from pipeline.training.results import CurveRow
from pipeline.training.seed_draws import SeedDraws
from pipeline.training.states import SAVE_EVERY_SECONDS, read_state, write_state
from pipeline.training.trainer import Trainer, TrainingJob, TrainingProgress

logger = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

# As in torch.nn.utils.clip_grad_norm_.
CLIP_EPSILON = 1e-6


def refusal(plan: TrainingPlan[Any]) -> str | None:
    """Return why the seeds of a plan cannot be one network; None if they can."""
    recipe = plan.recipe
    reasons = {
        "precision is bf16, whose gradients cannot be batched": recipe.precision == "bf16",
        "each seed has recombined videos of its own": recipe.recombined > 0,
        "compiled is true": recipe.compiled,
        "its loss draws random numbers on the CPU": recipe.draws_on_cpu,
        "a layer of its network cannot be batched": not plan.parser.can_be_batched,
        "it does not train one network with one loss": not plan.can_be_captured,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class BatchedTrainer:
    """Train one method with several seeds at once, on one device.

    Parameters
    ----------
    jobs
        They differ in their seeds only, and `refusal` has nothing against them. Their dataset
        should be on the device, or each seed copies it there.

    Attributes
    ----------
    trainers
        One per seed, with its progress.
    """

    def __init__(self, jobs: Sequence[TrainingJob]) -> None:
        self.job, self.recipe = jobs[0], jobs[0].recipe
        self.identity = fingerprint(["batched", *(job.identity for job in jobs)])
        self.trainers: list[Trainer] = []
        self._generators: list[torch.Generator] = []
        for job in jobs:
            self._add(Trainer(job))
        plans = [trainer.plan for trainer in self.trainers]
        self._loss = _Loss(plans[0])
        self._weights = _stacked([dict(plan.named_parameters()) for plan in plans])
        self._buffers = _stacked([dict(plan.named_buffers()) for plan in plans])
        self._optimiser = self._stacked_optimiser()
        self._captured: CapturedStep | None = None

    def _add(self, trainer: Trainer) -> None:
        """Add a seed that was just built, so that the random state is its own."""
        self.trainers.append(trainer)
        device = self.job.device
        generator = torch.Generator(device)
        generator.set_state(
            torch.cuda.get_rng_state(device) if self._on_cuda else torch.get_rng_state()
        )
        self._generators.append(generator)

    def _stacked_optimiser(self) -> torch.optim.Optimizer:
        """Return the first seed's optimiser, for the stacked weights."""
        plan, own = self.trainers[0].plan, self.trainers[0].optimisers[PARSER]
        stacked = {id(each): self._weights[name] for name, each in plan.named_parameters()}
        groups = [
            {**group, "params": [stacked[id(each)] for each in group["params"]]}
            for group in own.param_groups
        ]
        optimiser: torch.optim.Optimizer = type(own)(groups)  # type: ignore[call-arg]
        return optimiser

    @property
    def _on_cuda(self) -> bool:
        return self.job.device.type == "cuda"

    def run(self, state_path: Path, save_every_seconds: float = SAVE_EVERY_SECONDS) -> None:
        """Train to the last epoch, resuming from ``state_path`` if it exists.

        Raises
        ------
        PipelineError
            A loss term, a weight or a probability is not finite.
        """
        self.restore(state_path)
        progress = self.trainers[0].progress
        if progress.phase:
            return
        epochs = range(progress.epoch + 1, self.recipe.epochs + 1)
        seeds = " ".join(str(trainer.job.seed) for trainer in self.trainers)
        name = f"train {self.job.method} seeds {seeds}"
        saved = time.monotonic()
        with logging_redirect_tqdm():
            for epoch in track(epochs, len(epochs), name, "epochs"):
                self.run_epoch(epoch)
                if time.monotonic() - saved >= save_every_seconds:
                    self.save(state_path)
                    saved = time.monotonic()
        for trainer in self.trainers:
            trainer.end_phase()

    def run_epoch(self, epoch: int) -> None:
        """Train every seed for one epoch, and end it."""
        start = time.monotonic()
        rate = learning_rate(self.recipe, epoch)
        set_learning_rate(self._optimiser, rate)
        with tf32(self.recipe.precision == "tf32"):
            terms = self.pass_over_videos(epoch)
        for trainer, own in zip(self.trainers, terms, strict=True):
            trainer.end_epoch(epoch, rate, own, start, shared_by=len(self.trainers))

    def pass_over_videos(self, epoch: int) -> list[CurveRow]:
        """Train on all videos once, in each seed's order; return each seed's mean loss terms."""
        for trainer in self.trainers:
            trainer.plan.train()
        orders = torch.stack([trainer.new_order() for trainer in self.trainers])
        sums: list[Tensor] = []
        names: list[str] = []
        for rows in orders.split(self.recipe.batch_size, dim=1):
            if captured := self._captured_for(rows):
                names, terms = captured.names, captured(rows)
            else:
                named = self._step(rows)
                names, terms = list(named), torch.stack(list(named.values()))
            sums.append(terms.double() * rows.shape[1])
        of_seeds = torch.stack(sums).cpu().unbind(dim=2)
        return [
            trainer.mean_terms(history, names, epoch)
            for trainer, history in zip(self.trainers, of_seeds, strict=True)
        ]

    def _captured_for(self, rows: Tensor) -> CapturedStep | None:
        """Return the CUDA graph of a step, if it is one of full batches on a GPU."""
        if not (self._on_cuda and self.job.cuda_graphs):
            return None
        if rows.shape[1] < self.recipe.batch_size:
            return None
        if self._captured is None:
            tensors = [*self._weights.values(), *self._buffers.values()]
            self._captured = CapturedStep(
                self._step, rows, tensors, [self._optimiser], self._generators
            )
        return self._captured

    def _step(self, rows: Tensor) -> dict[str, Tensor]:
        """Train on each seed's videos, at ``rows`` [S, B]; return the loss terms [S], detached."""
        inputs = self.trainers[0].inputs.take(rows)
        targets = self.trainers[0].targets.take(rows)
        axes = (
            {name: None if name in batch.shared else 0 for name in batch.tensors()}
            for batch in (inputs, targets)
        )
        terms_of_all = vmap(self._terms_of_one, (0, 0, *axes))
        with SeedDraws(self._generators):
            terms: dict[str, Tensor] = terms_of_all(
                self._weights, self._buffers, inputs.tensors(), targets.tensors()
            )
        self._optimiser.zero_grad()
        # Seeds share no weights, so the gradient of the sum is each one's own.
        torch.stack(list(terms.values())).sum().backward()
        if self.recipe.clip_norm:
            clip_each(list(self._weights.values()), self.recipe.clip_norm)
        self._optimiser.step()
        return {name: term.detach() for name, term in terms.items()}

    def _terms_of_one(
        self, weights: Tensors, buffers: Tensors, inputs: Tensors, targets: Tensors
    ) -> dict[str, Tensor]:
        values = {f"plan.{name}": value for name, value in (weights | buffers).items()}
        batch = ParserInputs(**inputs), ParserTargets(**targets)
        terms: dict[str, Tensor] = functional_call(self._loss, values, batch)
        return terms

    def save(self, path: Path) -> None:
        """Write everything the next epoch depends on, atomically."""
        state = {
            "identity": self.identity,
            "progress": [vars(trainer.progress) for trainer in self.trainers],
            "weights": {**self._weights, **self._buffers},
            "optimiser": self._optimiser.state_dict(),
            "generators": [each.get_state() for each in self._all_generators],
        }
        write_state(path, state)

    def restore(self, path: Path) -> None:
        """Restore the state of an interrupted run; ignore an unreadable state or another job's."""
        state = read_state(path, self.identity)
        if state is None:
            return
        for trainer, progress in zip(self.trainers, state["progress"], strict=True):
            trainer.progress = TrainingProgress(**progress)
        with torch.no_grad():
            for name, tensor in (self._weights | self._buffers).items():
                tensor.copy_(state["weights"][name])
        load_optimiser(self._optimiser, state["optimiser"], self.job.device)
        for generator, own in zip(self._all_generators, state["generators"], strict=True):
            generator.set_state(own)
        logger.info("%s: resuming after epoch %d", self.job.method, self.trainers[0].progress.epoch)

    @property
    def _all_generators(self) -> list[torch.Generator]:
        return [*self._generators, *(trainer.shuffling for trainer in self.trainers)]


def _stacked(of_seeds: Sequence[Tensors]) -> Tensors:
    """Return the tensors of all seeds as [S, ...], by name; the seeds' own become views of them."""
    together = {}
    for name, first in of_seeds[0].items():
        stacked = torch.stack([tensors[name].detach() for tensors in of_seeds])
        for tensors, view in zip(of_seeds, stacked, strict=True):
            tensors[name].data = view
        together[name] = stacked.requires_grad_(first.requires_grad)
    return together


def clip_each(weights: Sequence[Tensor], largest: float) -> None:
    """Scale the gradient of each seed to a norm of at most ``largest``.

    What ``torch.nn.utils.clip_grad_norm_`` does for one network, for stacked weights [S, ...].
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    # Views: a copy would be scaled in place of the gradient.
    by_seed = [each.view(len(each), -1) for each in gradients]
    norms = torch.stack([torch.linalg.vector_norm(each, dim=1) for each in by_seed])
    factors = largest / (torch.linalg.vector_norm(norms, dim=0) + CLIP_EPSILON)
    for each in by_seed:
        each.mul_(factors.clamp(max=1)[:, None])


class _Loss(nn.Module):
    """The loss terms of a plan as a module, whose weights ``functional_call`` replaces."""

    def __init__(self, plan: TrainingPlan[Any]) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, inputs: ParserInputs, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the terms of the plan's only update."""
        [phase] = self.plan.phases()
        [update] = self.plan.steps(phase, Batch(inputs, targets, epoch=0, index=0))
        return dict(update.terms)
