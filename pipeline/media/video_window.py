"""The part of a video file to decode."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

NO_FILE = "no file is named after the video or its id"


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """A window of a video file.

    Attributes
    ----------
    name
        The video's name in tables and messages.
    path
        Its file; empty if there is none.
    start, end
        Bounds of the window in the file, in seconds.
    note
        Why there is no file, as far as the folder tells.
    following
        Start of other windows of the file that begin before this one ends or soon after.
    """

    name: str
    path: str
    start: float
    end: float
    note: str = NO_FILE
    following: tuple[float, ...] = ()


# How long after a window's end another one still follows it: longer than a decoder delays frames.
FOLLOWING_SECONDS = 5.0


def following_starts(starts: Sequence[float], index: int, end: float) -> tuple[float, ...]:
    """Return those of the ascending ``starts`` after ``index`` that follow a window."""
    return tuple(starts[index + 1 : bisect_right(starts, end + FOLLOWING_SECONDS)])
