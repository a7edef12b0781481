"""From CLAP's feature map of a 10-second window (2 × 32 cells) to one vector a second."""

from functools import cache

import torch
from torch.nn import functional

from pipeline.features.encoders.mel import WINDOW_SECONDS

# VALOR++ interpolates the 32 steps of HTSAT's map to 1024 before it pools them (methods: VALOR,
# NeurIPS 2023, released network).
MAP_STEPS, INTERPOLATED_STEPS = 32, 1024


@cache
def pooling_matrix() -> torch.Tensor:
    """Return M, float64 ``[10, 32]``: the pooling of VALOR++ as one matrix; rows sum to 1.

    VALOR++ interpolates the map bicubically to 1024 steps, applies a linear layer, averages the
    two frequency rows and pools adaptively to 10. All are linear and act on different axes, so
    ``layer(M @ map.mean(frequency))`` is the same; the identity pushed through gives M.
    """
    identity = torch.eye(MAP_STEPS, dtype=torch.float64)[:, None, None]
    wide = functional.interpolate(
        identity, size=(1, INTERPOLATED_STEPS), mode="bicubic", align_corners=False
    )
    pooled = functional.adaptive_avg_pool1d(wide[:, 0, 0], WINDOW_SECONDS)
    return pooled.T.contiguous()


def pool_seconds(feature_map: torch.Tensor) -> torch.Tensor:
    """Return one vector a second, ``[B, 10, D']``.

    Parameters
    ----------
    feature_map
        HTSAT's last map before its average pool, ``[B, D', 2 (frequency), 32 (time)]``.
    """
    matrix = pooling_matrix().to(feature_map)
    return torch.einsum("tm,bdm->btd", matrix, feature_map.mean(dim=2))
