"""How a method trains: its phases, the updates of a batch, and what it does between phases.

Most methods train one network with one optimiser (``SingleNetwork``). A method that differs
(several stages, several networks, labels denoised within a batch, thresholds searched on
validation) implements ``TrainingPlan``. The trainer owns everything else for all of them: epochs,
batches, optimisers, seeds, resuming, selection of the epoch, the curve and progress.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from pipeline.core.devices import naming_compiler
from pipeline.data.annotations import Labels
from pipeline.parsers.decision import Probabilities
from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserTargets,
)
from pipeline.parsers.recipes import Recipe, Selection

# The part of a plan that every plan has, and the optimiser of most updates.
PARSER = "parser"

RecipeType = TypeVar("RecipeType", bound=Recipe, default=Recipe)


class _Output(Protocol):
    def float(self) -> Self: ...


_OutputType = TypeVar("_OutputType", bound=_Output)
_OutputOf = TypeVar("_OutputOf", covariant=True)


class _Network(Protocol[_OutputOf]):
    """A parser, or another network that a plan trains."""

    def forward(self, inputs: ParserInputs) -> _OutputOf: ...


@dataclass(frozen=True)
class Batch:
    """Training videos of one step.

    Attributes
    ----------
    inputs, targets
        The videos and their labels.
    epoch
        Epoch of the phase, from 1.
    index
        Place of the batch in its epoch, from 0.
    """

    inputs: ParserInputs
    targets: ParserTargets
    epoch: int
    index: int


@dataclass(frozen=True)
class Update:
    """One step of one optimiser.

    Attributes
    ----------
    terms
        The loss as named scalar terms; their sum is minimised. Names are unique within a batch.
    optimiser
        Key of ``TrainingPlan.optimised``.
    """

    terms: Mapping[str, Tensor]
    optimiser: str = PARSER


@dataclass(frozen=True)
class Phase:
    """A run over several epochs that keeps the best weights of one part of the plan.

    Attributes
    ----------
    name
        Name in messages and in the curve.
    epochs
        Passes over the training videos.
    selection
        Validation metric that chooses the epoch.
    part
        Name of the submodule whose best weights are kept, such as ``parser``.
    optimised
        Optimiser to the name of the submodule that it trains.
    reseeded
        Whether the random state starts again from the seed, where the released code runs the phase
        as a program of its own.
    """

    name: str
    epochs: int
    selection: Selection
    part: str = PARSER
    optimised: Mapping[str, str] = field(default_factory=lambda: {PARSER: PARSER})
    reseeded: bool = False


class Validation(Protocol):
    """The validation videos, as a plan may use them (for methods tuned on their dense labels)."""

    truth: tuple[Labels, Labels]

    def parse(self, network: ParserNetwork[Any]) -> Probabilities:
        """Return a network's probabilities."""

    def metrics(self, audio: Labels, visual: Labels) -> Mapping[str, Mapping[str, float]]:
        """Return the published metrics of predicted labels [N, T, C], in percent."""


class TrainingPlan(nn.Module, ABC, Generic[RecipeType]):
    """Base class of the plans.

    A plan is a module so that everything that training changes, networks and statistics (as
    buffers), is saved and restored with its state. ``parser`` is what is trained for: the network
    that a checkpoint holds. Other networks and buffers of the plan serve training only.
    """

    def __init__(
        self, parser: ParserNetwork[Any], dimensions: Dimensions, recipe: RecipeType
    ) -> None:
        super().__init__()
        self.parser = parser
        self.recipe = recipe
        # Not attributes: compiled copies must not become part of the plan's state.
        self._compiled: dict[int, Any] = {}

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases in their order; by default one."""
        return (Phase("training", self.recipe.epochs, self.recipe.selection),)

    def prepare(self, phase: Phase, inputs: ParserInputs, targets: ParserTargets) -> None:
        """Prepare a phase from all training videos, such as statistics of their labels."""

    @abstractmethod
    def steps(self, phase: Phase, batch: Batch) -> Iterator[Update]:
        """Yield the updates of a batch in their order.

        The trainer performs each update before it asks for the next one, so what follows a
        ``yield`` sees the updated weights.
        """

    @property
    def can_be_captured(self) -> bool:
        """Whether the updates of every batch are the same operations, all of them on the device.

        They may then become a CUDA graph: none may read a value back, draw random numbers on the
        CPU, or depend on the batch's index or epoch.
        """
        return False

    def validated(self, phase: Phase) -> ParserNetwork[Any]:
        """Return the network that validation parses with; by default the parser."""
        return self.parser

    def after_epoch(self, phase: Phase, epoch: int, validation: Validation) -> None:
        """Do what a method does with its current weights after an epoch of a phase."""

    def finish(
        self, phase: Phase, inputs: ParserInputs, targets: ParserTargets, validation: Validation
    ) -> None:
        """Finish a phase; the phase's part has its best weights again."""

    def run(
        self, network: _Network[_OutputType], inputs: ParserInputs, **options: Any
    ) -> _OutputType:
        """Run a network with the recipe's precision, compiled if it says so.

        ``options`` are further arguments of its ``forward``.
        """
        forward: Any = network
        if self.recipe.compiled:
            if id(network) not in self._compiled:
                self._compiled[id(network)] = torch.compile(forward)
            forward = self._compiled[id(network)]
        halved = self.recipe.precision == "bf16"
        autocast = torch.autocast(inputs.audio.device.type, torch.bfloat16, halved)
        with naming_compiler(self.recipe.compiled), autocast:
            output: _OutputType = forward(inputs, **options)
        return output.float()


class SingleNetwork(TrainingPlan):
    """The plan of methods with one network, one loss and one optimiser."""

    @property
    def can_be_captured(self) -> bool:
        """Whether its updates can become a CUDA graph."""
        return type(self) is SingleNetwork and not (
            self.recipe.compiled or self.recipe.draws_on_cpu
        )

    def steps(self, phase: Phase, batch: Batch) -> Iterator[Update]:
        """Yield one update with the network's loss."""
        output = self.run(self.parser, batch.inputs)
        yield Update(self.parser.loss_terms(output, batch.targets))
