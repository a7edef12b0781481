"""Half precision for vision transformers: weights are cast once, not by autocast in each batch."""

from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import nn

# QuickGELU is x * sigmoid(1.702 x).
QUICK_GELU = 1.702


def cast_weights(tower: nn.Module, dtype: torch.dtype, device_type: str) -> None:
    """Cast a tower's weights, and its inputs whenever it runs; autocast is off inside it.

    On a GPU this saves a copy of every weight and activation (docs/explanation/measurements.md).
    """
    fold_quick_gelu(tower)
    tower.to(dtype)
    forward = tower.forward

    def cast_forward(images: torch.Tensor) -> Any:
        with torch.autocast(device_type, enabled=False):
            return forward(images.to(dtype))

    tower.forward = cast_forward


def fold_quick_gelu(tower: nn.Module) -> None:
    """Replace QuickGELU, three kernels, by SiLU, one.

    x * sigmoid(1.702 x) = silu(1.702 x) / 1.702, with the factors in the layers around it.
    """
    for block in tower.modules():
        layers = getattr(block, "mlp", None)
        if isinstance(layers, nn.Sequential) and isinstance(
            getattr(layers, "gelu", None), QuickGELU
        ):
            wider: Any = layers.c_fc
            narrower: Any = layers.c_proj
            wider.weight.data *= QUICK_GELU
            wider.bias.data *= QUICK_GELU
            narrower.weight.data /= QUICK_GELU
            layers.gelu = nn.SiLU()
