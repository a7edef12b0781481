"""What was wrong with a video that was parsed nevertheless, as sentences with a status."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, Status
from pipeline.core.vocabulary import MODALITIES
from pipeline.inference.predictors import WindowFeatures
from pipeline.inference.videos import InputVideo
from pipeline.media.segments import SHORT_SECONDS

# What a stream contains, what is done with it, and the status of a file without it.
STREAM_WORDS = {
    "audio": ("sound", "heard", Status.NO_AUDIO_STREAM),
    "visual": ("pictures", "seen", Status.NO_VIDEO_STREAM),
}

# A video's windows, in order; an error stands for a window that could not be decoded or embedded.
WindowOutcomes = Sequence[WindowFeatures | ItemError]


def diagnose(video: InputVideo, outcomes: WindowOutcomes) -> Iterator[tuple[Status, str]]:
    """Yield what a user should know about a parsed video, one sentence each.

    Parameters
    ----------
    video
        The video.
    outcomes
        Its windows, or why they failed.

    Yields
    ------
    A status (``ok`` for what matters little) and the sentence.
    """
    windows = list(zip(video.starts, outcomes, strict=True))
    lost = [(start, window) for start, window in windows if isinstance(window, ItemError)]
    kept = [(start, window) for start, window in windows if isinstance(window, WindowFeatures)]
    if lost:
        length = video.facts.length
        unparsed = length - len(_seconds_of(kept) & set(range(length)))
        rest = f"; {unparsed} of {length} s are not parsed." if unparsed else "."
        yield lost[0][1].status, _about("Left out", lost, len(windows)) + rest
    faulty = [(start, window) for start, window in kept if window.detail]
    if faulty:
        faulty.sort(key=lambda one: one[1].status == Status.OK)
        yield faulty[0][1].status, _about("Faulty", faulty, len(windows)) + "."
    if video.facts.choice:
        yield Status.OK, f"Of several streams, {video.facts.choice}."
    present = parsed_seconds(video, outcomes).any(axis=1).tolist()
    for modality, is_there in zip(MODALITIES, present, strict=True):
        yield from _about_stream(video, modality, is_there)


def parsed_seconds(video: InputVideo, outcomes: WindowOutcomes) -> NDArray[np.float64]:
    """Return how much of each second was parsed, ``[2, L]`` in [0, 1]; audio comes first."""
    length = video.facts.length
    taken = np.zeros((len(MODALITIES), length), bool)
    for start, window in zip(video.starts, outcomes, strict=True):
        if isinstance(window, WindowFeatures):
            inside = window.present[:, : length - start]
            taken[:, start : start + inside.shape[1]] |= inside
    seconds: NDArray[np.float64] = taken * video.facts.coverage
    return seconds


def _seconds_of(windows: Sequence[tuple[int, WindowFeatures]]) -> set[int]:
    lengths = [(start, window.present.shape[1]) for start, window in windows]
    return {second for start, length in lengths for second in range(start, start + length)}


def _about(what: str, windows: Sequence[tuple[int, WindowFeatures | ItemError]], count: int) -> str:
    """Return a phrase about some of a video's windows, of which there may be thousands."""
    start, first = windows[0]
    example = "such as the one" if len(windows) > 1 else "the one"
    return f"{what}: {len(windows)} of {count} windows, {example} from {start} s ({first.detail})"


def _about_stream(video: InputVideo, modality: str, is_there: bool) -> Iterator[tuple[Status, str]]:
    what, sensed, lacking = STREAM_WORDS[modality]
    facts, stream = video.facts, video.facts.streams[modality]
    if not is_there:
        undecodable = " that can be decoded" if stream or modality in facts.unknown else ""
        yield lacking, f"The file has no {what}{undecodable}, so nothing is {sensed}."
    elif stream:
        begin, end = max(stream.begin, 0.0), min(stream.end, facts.seconds)
        if facts.seconds - (end - begin) >= SHORT_SECONDS:
            yield (
                Status.TOO_SHORT,
                f"The file lasts {facts.seconds:.1f} s and has {what} from {begin:.1f} to"
                f" {end:.1f} s; nothing is {sensed} outside.",
            )
