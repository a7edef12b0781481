"""Random numbers inside ``torch.func.vmap`` over seeds: each seed draws from its own generator.

``vmap`` by itself draws for all seeds from one generator, so that a seed's dropout would depend on
the seeds beside it. Here a seed draws what it draws when it is trained alone. On a GPU, PyTorch's
fused dropout draws other numbers, so there only the distribution is the same.
Axes: S seeds, L sequence, B batch.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Fills a tensor in place from a generator.
Fill = Callable[[Tensor, torch.Generator], object]


class SeedDraws(TorchFunctionMode):
    """Within the block, dropout and ``rand_like`` draw from the generator of each seed.

    Anything else that draws is refused by ``vmap``.

    Parameters
    ----------
    generators
        One per seed, on the device of what is drawn.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._generators = tuple(generators)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Replace the functions that draw."""
        replaced: dict[Callable[..., object], Callable[..., object]] = {
            torch.rand_like: self._uniform,
            functional.dropout: self._dropout,
            functional.multi_head_attention_forward: self._attention,
        }
        return replaced.get(func, func)(*args, **kwargs or {})

    def _uniform(self, like: Tensor) -> Tensor:
        return self._drawn(like, lambda values, own: values.uniform_(generator=own))

    def _dropout(
        self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return values
        kept = self._drawn(values, lambda each, own: each.bernoulli_(1 - p, generator=own))
        return values * (kept / (1 - p))

    def _drawn(self, like: Tensor, fill: Fill) -> Tensor:
        drawn: Tensor = _Drawn.apply(like.detach(), fill, self._generators)
        return drawn

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        width: int,
        heads: int,
        in_weight: Tensor,
        in_bias: Tensor,
        key_bias: None,
        value_bias: None,
        has_zero: bool,
        dropout: float,
        out_weight: Tensor,
        out_bias: Tensor,
        training: bool = True,
        **options: object,
    ) -> tuple[Tensor, Tensor]:
        """Return the result [L, B, d] of ``nn.MultiheadAttention`` without masks, and its weights.

        PyTorch's own calls dropout where a mode does not see it, and fused kernels know no stacked
        weights. ``width`` and those typed None are arguments that this pipeline leaves as they are.
        """
        parts = zip((query, key, value), in_weight.chunk(3), in_bias.chunk(3), strict=True)
        projected = (functional.linear(*part).unflatten(-1, (heads, -1)) for part in parts)
        queries, keys, values = (each.permute(1, 2, 0, 3) for each in projected)
        scores = queries * queries.shape[-1] ** -0.5 @ keys.mT
        weights = self._dropout(scores.softmax(dim=-1), dropout, training)
        mixed = (weights @ values).permute(2, 0, 1, 3).flatten(2)
        return functional.linear(mixed, out_weight, out_bias), weights.mean(dim=1)


class _Drawn(torch.autograd.Function):
    """Random numbers like a tensor, seed by seed; without a gradient."""

    @staticmethod
    def forward(like: Tensor, fill: Fill, generators: tuple[torch.Generator, ...]) -> Tensor:
        """Refuse to draw where there is no axis of seeds."""
        raise RuntimeError("what is drawn must depend on the seed's weights or videos")

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Have no gradient."""
        context.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any,
        axes: tuple[int | None, ...],
        like: Tensor,
        fill: Fill,
        generators: tuple[torch.Generator, ...],
    ) -> tuple[Tensor, int]:
        """Return the numbers [S, ...] and their axis of seeds."""
        drawn = [torch.empty_like(own) for own in like.movedim(axes[0] or 0, 0)]
        for own, generator in zip(drawn, generators, strict=True):
            fill(own, generator)
        return torch.stack(drawn), 0
