"""The optimiser and learning-rate schedule of a recipe."""

import math

import torch
from torch import nn

from pipeline.parsers.recipes import Recipe

# PyTorch's default, used by all released implementations.
ADAM_EPSILON = 1e-8


def build_optimiser(parser: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; ``decay: weights`` exempts biases, norms, gates and μ."""
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
    return kind(groups, lr=recipe.learning_rate, betas=betas, eps=ADAM_EPSILON)


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
