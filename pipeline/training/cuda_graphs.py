"""Training steps as CUDA graphs: a GPU runs a whole step of a small network without waiting for us.

A step of VALOR++ is some hundred small kernels, which the card finishes faster than Python can ask
for them. Captured once, they are started together.

A replay computes what the same step computes eagerly, bit for bit, dropout too: the kernels are the
same, and random numbers come from the device's generator, whose state a replay reads and moves on
as the step would. So whether steps are captured is not part of what identifies a result.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

# Makes the updates of the videos at ``rows``; returns its loss terms by name, detached.
Step = Callable[[Tensor], dict[str, Tensor]]

# Steps before the capture, which fill the optimisers' state and the libraries' memory.
WARM_STEPS = 3


class CapturedStep:
    """A step of a full batch that was captured once and is replayed for others.

    Parameters
    ----------
    step
        What to capture. Nothing in it may depend on values on the device, or draw on the host.
    rows
        Rows of a full batch, on the device.
    tensors
        Everything that a step changes, except the optimisers' state: weights and buffers.
    optimisers
        Those that the step uses, whose steps are counted on the device (``capturable``).
    generators
        Generators on the device that the step draws from, beside the device's own.
    """

    def __init__(
        self,
        step: Step,
        rows: Tensor,
        tensors: Iterable[Tensor],
        optimisers: Iterable[torch.optim.Optimizer],
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self._rows = rows.clone()
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        optimisers = list(optimisers)
        own = torch.cuda.default_generators[rows.device.index]
        drawn = [own, *generators]
        with torch.cuda.device(rows.device), _left_as_it_was(tensors, optimisers, drawn):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_STEPS):
                    step(self._rows)
            torch.cuda.current_stream().wait_stream(side)
            # Gradients are then allocated where the graph writes them.
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(self._graph):
                terms = step(self._rows)
                self._terms = torch.stack(list(terms.values()))
        self.names = list(terms)

    def __call__(self, rows: Tensor) -> Tensor:
        """Train on the videos at ``rows``; return the loss terms, overwritten by the next call."""
        self._rows.copy_(rows)
        self._graph.replay()
        return self._terms


@contextmanager
def _left_as_it_was(
    tensors: Iterable[Tensor],
    optimisers: Sequence[torch.optim.Optimizer],
    generators: Iterable[torch.Generator],
) -> Iterator[None]:
    """Undo in place what steps inside the block change; their memory is what a graph knows."""
    kept = [(tensor, tensor.detach().clone()) for tensor in tensors]
    states = {id(value): value.clone() for value in _state_tensors(optimisers)}
    random = [(generator, generator.get_state()) for generator in generators]
    yield
    with torch.no_grad():
        for tensor, before in kept:
            tensor.copy_(before)
        for value in _state_tensors(optimisers):
            # What the steps have made was empty before: counts and means start from 0.
            if (state := states.get(id(value))) is None:
                value.zero_()
            else:
                value.copy_(state)
    for generator, before in random:
        generator.set_state(before)


def _state_tensors(optimisers: Iterable[torch.optim.Optimizer]) -> Iterator[Tensor]:
    for optimiser in optimisers:
        for state in optimiser.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
