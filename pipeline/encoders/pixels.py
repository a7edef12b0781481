"""Frames to what an image model was trained on: scaled and normalised, on the device."""

from collections.abc import Sequence

import torch


class PixelNorm:
    """Scales uint8 pixels to 0 to 1 and normalises them.

    Parameters
    ----------
    mean, std
        Of the pixels (RGB, 0 to 1) that the model was trained with.
    device
        Where the frames come.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._mean, self._std = (torch.tensor(one, device=device) for one in (mean, std))

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Return fp32 pixels ``[..., H, W, 3]`` of uint8 frames of that shape."""
        return frames.float().div_(255).sub_(self._mean).div_(self._std)
