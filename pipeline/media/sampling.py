"""Which frames stand for the segments, given when each frame is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# VALOR's frame extraction (`ffmpeg -r 8`) and its number of samples (methods.md 6.1).
VALOR_RATE = 8


@dataclass(frozen=True)
class Timeline:
    """When a stream's frames are shown.

    Attributes
    ----------
    pts
        Presentation times in the stream's ticks, ascending, at least one.
    seconds
        The same in seconds from the window's start.
    durations
        How long each frame is shown, in seconds.
    rounding
        How far the container may have rounded a time, in seconds: a frame that is asked for at its
        very onset is meant, though Matroska wrote its 166.67 ms as 167.
    """

    pts: NDArray[np.int64]
    seconds: NDArray[np.float64]
    durations: NDArray[np.float64]
    rounding: float = 0.0

    @property
    def end(self) -> float:
        """When the last frame leaves the screen."""
        return float(self.seconds[-1] + self.durations[-1])

    def until(self, stop: float) -> Timeline:
        """Return what is shown before ``stop``, in seconds; the first frame in any case."""
        count = max(int(np.searchsorted(self.seconds + self.rounding, stop)), 1)
        seconds = self.seconds[:count]
        durations = np.minimum(self.durations[:count], np.maximum(stop - seconds, 0))
        return Timeline(self.pts[:count], seconds, durations, self.rounding)


Sampler = Callable[[Timeline, int, int], NDArray[np.int64]]


def shown_at(timeline: Timeline, times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which frame is on the screen at each of ``times`` (seconds from the window's start).

    Before the first frame and after the last one these two hold.
    """
    places = np.searchsorted(timeline.seconds, times + timeline.rounding, side="right") - 1
    frames: NDArray[np.int64] = np.maximum(places, 0)
    return frames


def center_times(segments: int, per_segment: int) -> NDArray[np.float64]:
    """Return the ``T * K`` times ``t + (k + 0.5) / K`` in order: K parts' middles a segment."""
    places = np.arange(segments * per_segment, dtype=np.float64)
    return (places + 0.5) / per_segment


def sample_center(timeline: Timeline, segments: int, per_segment: int) -> NDArray[np.int64]:
    """Return the ``T * K`` frames on the screen at ``center_times``."""
    return shown_at(timeline, center_times(segments, per_segment))


def sample_valor(timeline: Timeline, segments: int, per_segment: int) -> NDArray[np.int64]:
    """Return VALOR's T frames: ``round(linspace(0, N - 1, T))`` of the N frames at 8 a second.

    N is what the window has, so a short video is stretched over the T segments (methods.md 6.1).
    ``per_segment`` is 1.
    """
    seconds = timeline.seconds + timeline.rounding
    inside = np.flatnonzero((seconds >= 0) & (seconds < segments))
    if not len(inside):
        return sample_center(timeline, segments, per_segment)
    onsets, durations = timeline.seconds[inside], timeline.durations[inside]
    resampled = inside[constant_rate(onsets, durations, VALOR_RATE)]
    places = np.round(np.linspace(0, len(resampled) - 1, segments)).astype(np.int64)
    frames: NDArray[np.int64] = resampled[places]
    return frames


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
