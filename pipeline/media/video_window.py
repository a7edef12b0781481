"""The part of a video file to decode."""

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
    """

    name: str
    path: str
    start: float
    end: float
    note: str = NO_FILE
