"""Pooling of CLAP's feature map of a 10-second window (2 x 32 cells) to one vector per second."""

from functools import cache

import torch
from torch.nn import functional

from pipeline.features.encoders.mel import WINDOW_SECONDS

# VALOR++ interpolates the 32 time steps of HTSAT's map to 1024 before pooling (VALOR: Lai et al.,
# NeurIPS 2023, released network).
MAP_STEPS, INTERPOLATED_STEPS = 32, 1024


@cache
def pooling_matrix() -> torch.Tensor:
    """Return M, float64 ``[10, 32]``: the pooling of VALOR++ as one matrix; its rows sum to 1.

    VALOR++ interpolates the map bicubically to 1024 steps, applies a linear layer, averages the
    two frequency rows and pools adaptively to 10. These steps are linear and act on different axes,
    so they equal ``layer(M @ map.mean(frequency))``, where M is the image of the identity.
    """
    identity = torch.eye(MAP_STEPS, dtype=torch.float64)[:, None, None]
    wide = functional.interpolate(
        identity, size=(1, INTERPOLATED_STEPS), mode="bicubic", align_corners=False
    )
    pooled = functional.adaptive_avg_pool1d(wide[:, 0, 0], WINDOW_SECONDS)
    return pooled.T.contiguous()


def pool_seconds(feature_map: torch.Tensor) -> torch.Tensor:
    """Return one vector per second, ``[B, 10, D']``.

    Parameters
    ----------
    feature_map
        HTSAT's last map before average pooling, ``[B, D', 2 (frequency), 32 (time)]``.
    """
    matrix = pooling_matrix().to(feature_map)
    return torch.einsum("tm,bdm->btd", matrix, feature_map.mean(dim=2))
