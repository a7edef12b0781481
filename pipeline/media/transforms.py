"""Transforms of a frame to the encoder's square input, as uint8."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RgbImage = NDArray[np.uint8]


def clip(picture: RgbImage, size: int) -> RgbImage:
    """Resize the short side to ``size`` (PIL bicubic) and crop the centre, as open_clip does.

    Parameters
    ----------
    picture
        ``[H, W, 3]`` RGB.
        Side length of the result ``[size, size, 3]``.
        Side of the result ``[size, size, 3]``.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    height, width = int(size * height / short), int(size * width / short)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.uint8)


def valor(picture: RgbImage, size: int) -> RgbImage:
    """Resize to ``[size, size, 3]`` without keeping the aspect ratio, bilinear, no antialiasing.

    This is how torchvision 0.13 resized float tensors for VALOR (Lai et al., NeurIPS 2023, released
    extraction code). Unlike VALOR, the result is rounded to uint8, an error of at most half a grey
    level; the JPEG files VALOR read its frames from differ by more.
    """
    top, bottom, down = _neighbours(picture.shape[0], size)
    left, right, across = _neighbours(picture.shape[1], size)
    down, across = down[:, None, None], across[None, :, None]
    columns = picture[:, left] * (1 - across) + picture[:, right] * across
    squashed = columns[top] * (1 - down) + columns[bottom] * down
    rounded: RgbImage = np.round(squashed).astype(np.uint8)
    return rounded


def _neighbours(
    length: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the two source pixels for each of ``size`` pixel centres, and the second's weight."""
    centres = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
    first = centres.astype(np.int64)
    share = (centres - first).astype(np.float32)
    return first, np.minimum(first + 1, length - 1), share


TRANSFORMS: dict[str, Callable[[RgbImage, int], RgbImage]] = {"clip": clip, "valor": valor}
