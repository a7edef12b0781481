"""Frames to the encoder's square, as uint8."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RgbImage = NDArray[np.uint8]


def clip(picture: RgbImage, size: int) -> RgbImage:
    """Resize the short side to ``size`` (PIL bicubic) and cut the middle square, as open_clip does.

    Parameters
    ----------
    picture
        ``[H, W, 3]`` RGB.
    size
        Side of the result ``[size, size, 3]``.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    height, width = int(size * height / short), int(size * width / short)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.uint8)


def valor(picture: RgbImage, size: int) -> RgbImage:
    """Squash to ``[size, size, 3]``, bilinear between the four nearest pixels, not antialiased.

    The resizing of a float tensor that VALOR's torchvision 0.13 did (methods.md 6.1). differs:
    the result is rounded to uint8, half a grey level at most, where VALOR kept floats; VALOR's
    own frames came through JPEG, which moves them more.
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
    """Return the two source pixels of each of ``size`` pixel centres, and the second's share."""
    centres = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
    first = centres.astype(np.int64)
    share = (centres - first).astype(np.float32)
    return first, np.minimum(first + 1, length - 1), share


TRANSFORMS: dict[str, Callable[[RgbImage, int], RgbImage]] = {"clip": clip, "valor": valor}
