"""The optimiser and learning-rate schedule of a recipe, and whether training has diverged."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PipelineError
from pipeline.parsers.recipes import Recipe

# PyTorch's default, used by all released implementations.
ADAM_EPSILON = 1e-8


def build_optimiser(
    parser: nn.Module, recipe: Recipe, rate_on: torch.device | None = None
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; ``decay: weights`` exempts biases, norms, gates and μ.

    With ``rate_on``, a GPU, its learning rate is a tensor there and its steps are counted there,
    which CUDA graphs need; the rounding is another then.
    """
    weights = [weight for weight in parser.parameters() if weight.requires_grad]
    exempt_vectors = recipe.decay == "weights"
    groups = [
        {
            "params": [weight for weight in weights if weight.ndim > 1 or not exempt_vectors],
            "weight_decay": recipe.weight_decay,
        },
        {
            "params": [weight for weight in weights if weight.ndim <= 1 and exempt_vectors],
            "weight_decay": 0.0,
        },
    ]
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    betas = (recipe.beta1, recipe.beta2)
    rate: float | Tensor = recipe.learning_rate
    if rate_on is not None:
        rate = torch.tensor(rate, device=rate_on)
    is_on_gpu = rate_on is not None
    return kind(groups, lr=rate, betas=betas, eps=ADAM_EPSILON, capturable=is_on_gpu)


def load_optimiser(
    optimiser: torch.optim.Optimizer, state: dict[str, Any], device: torch.device
) -> None:
    """Restore a saved state; a learning rate that is a tensor goes to ``device``."""
    optimiser.load_state_dict(state)
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"] = group["lr"].to(device)


def check_weights(network: nn.Module, when: str) -> None:
    """Check that all weights and statistics of a network are finite.

    The loss of a step is that of the weights before it, so the last step's damage shows here only.

    Raises
    ------
    PipelineError
        One is not; ``when`` says at which point of the training.
    """
    tensors = {
        name: value for name, value in network.state_dict().items() if value.is_floating_point()
    }
    finite = torch.stack([value.isfinite().all() for value in tensors.values()]).tolist()
    broken = [name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite]
    if broken:
        raise PipelineError(
            f"the training has diverged: '{broken[0]}' is not finite after {when}; lower"
            " learning_rate."
        )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups; a tensor stays where a CUDA graph reads it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate(recipe: Recipe, epoch: int, epochs: int | None = None) -> float:
    """Return the learning rate of an epoch, counted from 1, of ``epochs`` (the recipe's).

    ``cosine`` (VALOR's code), with w of E epochs as warm-up: ``e/w · top`` for e < w, else
    ``low + (top - low)/2 · (1 + cos(π (e - w)/(E - w)))``. ``step`` (HAN): multiplied by
    ``step_factor`` every ``step_epochs``.
    """
    top, low, warmup = recipe.learning_rate, recipe.minimum_learning_rate, recipe.warmup_epochs
    if recipe.schedule == "step":
        return top * recipe.step_factor ** ((epoch - 1) // recipe.step_epochs)
    if epoch < warmup:
        return epoch / warmup * top
    progress = (epoch - warmup) / max(1, (epochs or recipe.epochs) - warmup)
    return low + (top - low) / 2 * (1 + math.cos(math.pi * progress))
