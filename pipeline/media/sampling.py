"""Which frames stand for the segments, given when each frame is shown."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Matroska and FLV round times to milliseconds: a frame asked for at its very onset is meant.
ROUNDING_SECONDS = 0.0005

# VALOR's frame extraction (`ffmpeg -r 8`) and its number of samples (methods.md 6.1).
VALOR_RATE = 8

Sampler = Callable[[NDArray[np.float64], NDArray[np.float64], int, int], NDArray[np.int64]]


def shown_at(seconds: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which frame is on the screen at each of ``times``.

    Parameters
    ----------
    seconds
        When each frame appears, ascending, at least one.
    times
        Any times on the same clock; before the first frame and after the last one these two hold.
    """
    places = np.searchsorted(seconds, times + ROUNDING_SECONDS, side="right") - 1
    frames: NDArray[np.int64] = np.maximum(places, 0)
    return frames


def center_times(segments: int, per_segment: int) -> NDArray[np.float64]:
    """Return the ``T * K`` times ``t + (k + 0.5) / K`` in order: K parts' middles a segment."""
    return (np.arange(segments * per_segment, dtype=np.float64) + 0.5) / per_segment


def sample_center(
    seconds: NDArray[np.float64],
    durations: NDArray[np.float64],
    segments: int,
    per_segment: int,
) -> NDArray[np.int64]:
    """Return the ``T * K`` frames on the screen at ``center_times``."""
    return shown_at(seconds, center_times(segments, per_segment))


def sample_valor(
    seconds: NDArray[np.float64],
    durations: NDArray[np.float64],
    segments: int,
    per_segment: int,
) -> NDArray[np.int64]:
    """Return VALOR's T frames: ``round(linspace(0, N - 1, T))`` of the N frames at 8 a second.

    N is what the window has, so a short video is stretched over the T segments (methods.md 6.1).
    ``per_segment`` is 1.
    """
    shown = np.flatnonzero((seconds > -ROUNDING_SECONDS) & (seconds < segments))
    if not len(shown):
        return sample_center(seconds, durations, segments, per_segment)
    resampled = shown[constant_rate(seconds[shown], durations[shown], VALOR_RATE)]
    return resampled[np.round(np.linspace(0, len(resampled) - 1, segments)).astype(np.int64)]


def constant_rate(
    seconds: NDArray[np.float64], durations: NDArray[np.float64], rate: int
) -> NDArray[np.int64]:
    """Return the frame that ``ffmpeg -r RATE`` writes at each step of a constant rate.

    ffmpeg does not take the frame on the screen at ``i / rate``: it walks through the frames,
    drops one only when its end lies more than 1.1 steps behind the output and repeats one only
    when it lies more than 1.1 steps ahead (fftools, video sync "cfr"). So the first frames come
    faster than they were shown, and 10 s at 30 frames a second give 82 frames, not 80.
    """
    written: list[int] = []
    for frame, (onset, duration) in enumerate(zip(seconds * rate, durations * rate, strict=True)):
        ahead = onset - len(written)
        behind = ahead + duration
        if behind < -1.1:
            continue
        repeats, of_previous = 1, 0
        if behind > 1.1:
            repeats = round(behind)
            of_previous = round(ahead - 0.6) if ahead > 1.1 else 0
        written += [max(frame - 1, 0)] * of_previous + [frame] * (repeats - of_previous)
    return np.array(written, dtype=np.int64)


SAMPLERS: dict[str, Sampler] = {"center": sample_center, "valor": sample_valor}
