"""A training step, alone or of several seeds as one batched network, eager or as a CUDA graph.

An experiment: what the trainer could gain. Losses, clipping and the optimiser are the recipe's.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import cast

import torch
from harness import wait
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.parsers.interface import ParserInputs, ParserNetwork, ParserOutput, ParserTargets
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import build_network
from pipeline.training.dataset import TrainingData

# Steps before a graph is captured, which fill the optimiser's state and the libraries' memory.
WARM_STEPS = 3

Tensors = Mapping[str, Tensor]


class Loss(nn.Module):
    """A parser and its loss as one module, of tensors by name, so that it can be batched."""

    def __init__(self, parser: ParserNetwork) -> None:
        super().__init__()
        self.parser = parser

    def forward(self, inputs: Tensors, targets: Tensors) -> Tensor:
        """Return the loss terms of a batch."""
        output = cast(ParserOutput, self.parser(ParserInputs(**inputs))).float()
        return torch.stack(list(self.parser.loss_terms(output, ParserTargets(**targets)).values()))


@dataclass
class Arrays:
    """Inputs or targets on the device: those of every video, and those that videos share."""

    own: dict[str, Tensor]
    shared: dict[str, Tensor]

    @classmethod
    def of(cls, batch: ParserInputs | ParserTargets, device: torch.device) -> "Arrays":
        """Return the tensors of a batch."""
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        present = {key: each.to(device) for key, each in values.items() if each is not None}
        shared = {key: present.pop(key) for key in batch.shared if key in present}
        return cls(present, shared)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the videos at ``rows``, of any shape."""
        return {key: value[rows] for key, value in self.own.items()} | self.shared

    def axes(self) -> dict[str, int | None]:
        """Return the axis of seeds of each tensor; None of those that seeds share."""
        return dict.fromkeys(self.own, 0) | dict.fromkeys(self.shared)


class Steps:
    """Steps of one seed, or of several whose parameters are stacked."""

    def __init__(
        self,
        method: str,
        recipe: Recipe,
        data: TrainingData,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        self.recipe, self.device, self.seeds = recipe, device, list(seeds)
        self.inputs = Arrays.of(data.train.inputs, device)
        self.targets = Arrays.of(data.train.targets, device)
        self.videos = len(data.train.inputs)
        self.shuffling = [torch.Generator().manual_seed(seed) for seed in seeds]
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(Loss(build_network(method, data.dimensions, recipe)).to(device).train())
        self._place(networks)
        self.optimiser = self._optimiser()
        self.rows = torch.zeros(self._shape(recipe.batch_size), dtype=torch.long, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def _place(self, networks: list[Loss]) -> None:
        if len(networks) == 1:
            self.weights: dict[str, Tensor] = dict(networks[0].named_parameters())
            self.module = networks[0]
            return
        stacked, self.buffers = stack_module_state(cast(list[nn.Module], networks))
        trained = {name: each.requires_grad for name, each in networks[0].named_parameters()}
        self.weights = {
            name: each.detach().requires_grad_(trained[name]) for name, each in stacked.items()
        }
        self.module = copy.deepcopy(networks[0]).to("meta")

    @property
    def _is_stacked(self) -> bool:
        return len(self.seeds) > 1

    def _shape(self, batch: int) -> tuple[int, ...]:
        return (len(self.seeds), batch) if self._is_stacked else (batch,)

    def _optimiser(self) -> torch.optim.Optimizer:
        """Return the recipe's AdamW, whose rate and steps are tensors, as a graph needs."""
        recipe, on_card = self.recipe, self.device.type == "cuda"
        vectors = 2 if self._is_stacked else 1
        exempt = recipe.decay == "weights"
        weights = [each for each in self.weights.values() if each.requires_grad]
        groups = [
            {
                "params": [each for each in weights if not (exempt and each.ndim <= vectors)],
                "weight_decay": recipe.weight_decay,
            },
            {
                "params": [each for each in weights if exempt and each.ndim <= vectors],
                "weight_decay": 0.0,
            },
        ]
        rate: float | Tensor = recipe.learning_rate
        if on_card:
            rate = torch.tensor(rate, device=self.device)
        kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
        betas = (recipe.beta1, recipe.beta2)
        return kind(groups, lr=rate, betas=betas, eps=1e-8, capturable=on_card, foreach=True)

    def terms(self, rows: Tensor) -> Tensor:
        """Return the loss terms [terms], or [seeds, terms] of stacked seeds."""
        inputs, targets = self.inputs.take(rows), self.targets.take(rows)
        with torch.autocast(self.device.type, torch.bfloat16, self.recipe.precision == "bf16"):
            if not self._is_stacked:
                return cast(Tensor, self.module(inputs, targets))
            axes = (0, 0, self.inputs.axes(), self.targets.axes())
            of_one = vmap(self._terms_of_one, axes, randomness="different")
            # The fused kernels of attention cannot be batched over weights.
            with sdpa_kernel(SDPBackend.MATH):
                return of_one(self.weights, self.buffers, inputs, targets)

    def _terms_of_one(
        self, weights: Tensors, buffers: Tensors, inputs: Tensors, targets: Tensors
    ) -> Tensor:
        state = (dict(weights), dict(buffers))
        return cast(Tensor, functional_call(self.module, state, (inputs, targets)))

    def step(self, rows: Tensor) -> Tensor:
        """Take a step; return its loss terms."""
        self.optimiser.zero_grad()
        terms = self.terms(rows)
        # Seeds do not meet: the gradient of the sum is each one's own.
        terms.sum().backward()
        self._clip()
        self.optimiser.step()
        return terms.detach()

    def _clip(self) -> None:
        if not self.recipe.clip_norm:
            return
        gradients = [each.grad for each in self.weights.values() if each.grad is not None]
        if not self._is_stacked:
            weights = [each for each in self.weights.values() if each.grad is not None]
            nn.utils.clip_grad_norm_(weights, self.recipe.clip_norm)
            return
        count = len(self.seeds)
        squares = [each.reshape(count, -1).square().sum(dim=1) for each in gradients]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        factors = (self.recipe.clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for each in gradients:
            each.mul_(factors.view(count, *[1] * (each.ndim - 1)))

    def capture(self) -> None:
        """Make a whole step of a full batch one CUDA graph; weights and state stay as they are."""
        weights = {name: each.detach().clone() for name, each in self.weights.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_STEPS):
                self.step(self.rows)
        torch.cuda.current_stream().wait_stream(stream)
        self.optimiser.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.captured = self.step(self.rows)
        with torch.no_grad():
            for name, each in self.weights.items():
                each.copy_(weights[name])
            for state in self.optimiser.state.values():
                for each in state.values():
                    each.zero_()

    def epoch(self) -> tuple[float, Tensor]:
        """Train on all videos once; return the seconds, and the mean loss (of every seed)."""
        wait()
        began = time.perf_counter()
        orders = [torch.randperm(self.videos, generator=each) for each in self.shuffling]
        order = torch.stack(orders) if self._is_stacked else orders[0]
        sums = []
        for rows in order.to(self.device).split(self.recipe.batch_size, dim=-1):
            if self.graph is not None and rows.shape == self.rows.shape:
                self.rows.copy_(rows)
                self.graph.replay()
                terms = self.captured
            else:
                terms = self.step(rows.contiguous())
            sums.append(terms.sum(dim=-1).double() * rows.shape[-1])
        loss = (torch.stack(sums).sum(dim=0) / self.videos).cpu()
        wait()
        return time.perf_counter() - began, loss
