"""Choice of the frames of each segment, by presentation time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Frame rate of VALOR's extraction (`ffmpeg -r 8`; Lai et al., NeurIPS 2023, released code).
VALOR_RATE = 8


@dataclass(frozen=True)
class Timeline:
    """The presentation times of a stream's frames.

    Attributes
    ----------
    pts
        Presentation times in the stream's ticks, ascending, at least one.
    seconds
        The same in seconds from the window's start.
    durations
        How long each frame is shown, in seconds.
    rounding
        Largest rounding error of the container's times, in seconds: Matroska stores 166.67 ms as
        167, and a request for that instant still means the frame.
    """

    pts: NDArray[np.int64]
    seconds: NDArray[np.float64]
    durations: NDArray[np.float64]
    rounding: float = 0.0

    @property
    def end(self) -> float:
        """End time of the last frame, in seconds."""
        return float(self.seconds[-1] + self.durations[-1])

    def until(self, stop: float) -> Timeline:
        """Return the frames shown before ``stop`` (seconds), and always the first one."""
        count = max(int(np.searchsorted(self.seconds + self.rounding, stop)), 1)
        seconds = self.seconds[:count]
        durations = np.minimum(self.durations[:count], np.maximum(stop - seconds, 0))
        return Timeline(self.pts[:count], seconds, durations, self.rounding)


Sampler = Callable[[Timeline, int, int], NDArray[np.int64]]


def shown_at(timeline: Timeline, times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the frame shown at each of ``times`` (seconds from the window's start).

    The first frame also stands for earlier times, the last one for later times.
    """
    indices = np.searchsorted(timeline.seconds, times + timeline.rounding, side="right") - 1
    frames: NDArray[np.int64] = np.maximum(indices, 0)
    return frames


def center_times(segments: int, per_segment: int) -> NDArray[np.float64]:
    """Return the ``T * K`` times ``t + (k + 0.5) / K``: the centres of K parts of each segment."""
    indices = np.arange(segments * per_segment, dtype=np.float64)
    return (indices + 0.5) / per_segment


def sample_center(timeline: Timeline, segments: int, per_segment: int) -> NDArray[np.int64]:
    """Return the indices of the ``T * K`` frames shown at ``center_times``."""
    return shown_at(timeline, center_times(segments, per_segment))


def sample_valor(timeline: Timeline, segments: int, per_segment: int) -> NDArray[np.int64]:
    """Return VALOR's T frames: ``round(linspace(0, N - 1, T))`` of the N frames at 8 per second.

    N counts the frames in the window, so a short video is stretched over the T segments.
    ``per_segment`` is 1. Source: VALOR (Lai et al., NeurIPS 2023), released extraction code.
    """
    seconds = timeline.seconds + timeline.rounding
    inside = np.flatnonzero((seconds >= 0) & (seconds < segments))
    if not len(inside):
        return sample_center(timeline, segments, per_segment)
    onsets, durations = timeline.seconds[inside], timeline.durations[inside]
    resampled = inside[constant_rate(onsets, durations, VALOR_RATE)]
    indices = np.round(np.linspace(0, len(resampled) - 1, segments)).astype(np.int64)
    frames: NDArray[np.int64] = resampled[indices]
    return frames


def constant_rate(
    seconds: NDArray[np.float64], durations: NDArray[np.float64], rate: int
) -> NDArray[np.int64]:
    """Return the index of the frame that ``ffmpeg -r RATE`` writes at each output step.

    ffmpeg does not take the frame shown at ``i / rate``. It goes through the frames, drops one only
    if its end is more than 1.1 steps behind the output, and repeats one only if its end is more
    than 1.1 steps ahead (fftools, video sync "cfr"). The first frames thus come early, and 10 s at
    30 frames per second give 82 frames, not 80.
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
