"""A video of any length as windows of T segments, and windows merged to seconds again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError


def window_starts(length: int, segments: int, overlap: int) -> tuple[int, ...]:
    """Return the first second of each window over a video.

    Windows begin every ``segments - overlap`` seconds; the last one is moved back so that it ends
    with the video. A video shorter than a window has one window.

    Parameters
    ----------
    length
        L, seconds of the video, at least 1.
    segments
        T, seconds of a window.
    overlap
        Seconds that neighbouring windows share, 0 to T - 1.

    Raises
    ------
    PipelineError
        The overlap is out of range.
    """
    if not 0 <= overlap < segments:
        raise PipelineError(
            f"overlap is {overlap} s; it must be from 0 to {segments - 1}, as a window has"
            f" {segments} s."
        )
    last = max(length - segments, 0)
    return (*range(0, last, segments - overlap), last)


def merge(
    windows: NDArray[Any], starts: Sequence[int], length: int, present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return, for every second of a video, the mean over the windows that contain it.

    Parameters
    ----------
    windows : ``[W, T, ...]``
        Values of W windows.
    starts
        Their first seconds.
    length
        L, seconds of the video; later seconds of a window are padding and are left out.
    present : ``[W, T]``
        Which seconds of the windows are not padding.

    Returns
    -------
    ``[L, ...]``; 0 where no window contains a second.
    """
    trailing = (1,) * (windows.ndim - 2)
    total = np.zeros((length, *windows.shape[2:]))
    count = np.zeros((length, *trailing))
    for start, values, has in zip(starts, windows, present, strict=True):
        inside = has[: length - start].reshape(-1, *trailing)
        total[start : start + len(inside)] += values[: len(inside)] * inside
        count[start : start + len(inside)] += inside
    mean: NDArray[np.float64] = total / np.maximum(count, 1)
    return mean
