"""What is wrong with a video that is parsed all the same: sentences, and a row of the table."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, Status
from pipeline.core.shards import StatusRow
from pipeline.core.vocabulary import MODALITIES
from pipeline.inference.events import Parsed
from pipeline.inference.predictors import WindowFeatures
from pipeline.inference.videos import InputVideo
from pipeline.media.segments import SHORT_SECONDS

# What streams are in words, what is done with them, and the status of a file without.
STREAM_WORDS = {
    "audio": ("sound", "heard", Status.NO_AUDIO_STREAM),
    "visual": ("pictures", "seen", Status.NO_VIDEO_STREAM),
}

Outcomes = Sequence[WindowFeatures | ItemError]


def status_row(video: InputVideo, outcomes: Outcomes, parsed: Parsed) -> StatusRow:
    """Return a parsed video's row: its first trouble's status, its notes, its streams' seconds."""
    statuses = [status for status, _ in diagnose(video, outcomes) if status != Status.OK]
    heard, seen = parsed_seconds(video, outcomes).sum(axis=1).tolist()
    return StatusRow(
        video.name,
        kept=True,
        status=statuses[0] if statuses else Status.OK,
        detail=" ".join(parsed.notes),
        video_seconds=seen,
        audio_seconds=heard,
    )


def diagnose(video: InputVideo, outcomes: Outcomes) -> Iterator[tuple[Status, str]]:
    """Yield what is to be known of a video that is parsed, one sentence each.

    Parameters
    ----------
    video
        The video.
    outcomes
        Its windows, in order, or why they cannot be had.

    Yields
    ------
    A status, ``ok`` for what changes little, and the sentence.
    """
    windows = list(zip(video.starts, outcomes, strict=True))
    lost = [(start, window) for start, window in windows if isinstance(window, ItemError)]
    kept = [(start, window) for start, window in windows if isinstance(window, WindowFeatures)]
    if lost:
        unsaid = video.facts.length - len(_seconds_of(kept) & set(range(video.facts.length)))
        rest = f"; nothing is said of {unsaid} of {video.facts.length} s." if unsaid else "."
        yield lost[0][1].status, _about("Left out", lost, len(windows)) + rest
    faulty = [(start, window) for start, window in kept if window.detail]
    if faulty:
        faulty.sort(key=lambda one: one[1].status == Status.OK)
        yield faulty[0][1].status, _about("Faulty", faulty, len(windows)) + "."
    present = parsed_seconds(video, outcomes).any(axis=1).tolist()
    for modality, is_there in zip(MODALITIES, present, strict=True):
        yield from _of_stream(video, modality, is_there)


def parsed_seconds(video: InputVideo, outcomes: Outcomes) -> NDArray[np.float64]:
    """Return how much of each second was parsed, ``[2, L]`` in [0, 1]; audio, then visual."""
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
    """Return words about some of a video's windows, of which there may be thousands."""
    start, first = windows[0]
    example = "such as the one" if len(windows) > 1 else "the one"
    return (
        f"{what}: {len(windows)} of {count} windows, {example} from {start} s on ({first.detail})"
    )


def _of_stream(video: InputVideo, modality: str, is_there: bool) -> Iterator[tuple[Status, str]]:
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
