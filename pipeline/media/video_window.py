"""The part of a video file to decode."""

from dataclasses import dataclass


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
    """

    name: str
    path: str
    start: float
    end: float
