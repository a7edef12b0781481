"""Transforms of a frame: upright as it is shown, then the encoder's square input, as uint8."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RgbImage = NDArray[np.uint8]

# A display matrix that is further from a multiple of 90 degrees turns the picture in its frame.
STRAIGHT_DEGREES = 1.0


def upright(picture: RgbImage, display_matrix: bytes) -> RgbImage:
    """Return a picture as it is shown: turned and mirrored, as by the ffmpeg program.

    Parameters
    ----------
    picture
        ``[H, W, 3]``, as it is stored.
    display_matrix
        Nine int32, row by row: a stored point (x, y) is shown at (a x + c y, b x + d y), where the
        first row begins with a and b, the second one with c and d. Empty for none.
    """
    if not display_matrix:
        return picture
    a, b, _, c, d = np.frombuffer(display_matrix, np.int32)[:5].tolist()
    degrees = math.degrees(math.atan2(b, a))
    if abs(degrees - 90 * round(degrees / 90)) > STRAIGHT_DEGREES:
        turned = Image.fromarray(picture).rotate(-degrees, Image.Resampling.BILINEAR)
        return np.asarray(turned, dtype=np.uint8)
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def turn_of(display_matrix: bytes) -> str:
    """Return what a display matrix does to a picture: ``rotated``, ``mirrored`` or nothing."""
    if not display_matrix:
        return ""
    a, b, _, c, d = np.frombuffer(display_matrix, np.int32)[:5].tolist()
    return "mirrored" if a * d < b * c else "rotated"


def clip(picture: RgbImage, size: int) -> RgbImage:
    """Resize the short side to ``size`` (PIL bicubic) and crop the centre, as open_clip does.

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
    top, left = round((height - size) / 2), round((width - size) / 2)
    image = Image.fromarray(picture)
    if width > size:
        # PIL resizes the width of such pictures first; the rest concerns the crop only.
        image = image.resize((width, image.height), Image.Resampling.BICUBIC)
        image = image.crop((left, 0, left + size, image.height))
    resized = image.resize((size, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((0, top, size, top + size)), dtype=np.uint8)


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
