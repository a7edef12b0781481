"""Which part of which file is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VideoWindow:
    """A window of a video file.

    Attributes
    ----------
    name
        The video's name in tables and messages.
    path
        Its file; empty where there is none.
    start, end
        The window inside the file, in seconds.
    """

    name: str
    path: str
    start: float
    end: float
