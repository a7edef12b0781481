"""What is in a media file, and the only way the package opens one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from pipeline.core.errors import ItemError, Status

# Only self-contained containers: playlists and concat lists, which name other files and addresses,
# are not among them. PyAV and ffmpeg's program take the same two lists.
FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,wav,mp3,flac,aac"
PROTOCOLS = "file"


@dataclass(frozen=True)
class AudioStream:
    """A sound stream: its index in the file, sample rate in Hz, number of channels."""

    index: int
    rate: int
    channels: int


@dataclass(frozen=True)
class Media:
    """What is in a media file.

    Attributes
    ----------
    path
        The file, absolute.
    origin
        Time of the clock's zero on the container's timeline, in seconds.
    seconds
        Length that the header promises; 0 where it says nothing.
    video
        Index of the picture stream, or None.
    only_video
        Whether that is the only picture stream (cover art counts too).
    audio
        The sound stream, or None.
    """

    path: Path
    origin: float
    seconds: float
    video: int | None
    only_video: bool
    audio: AudioStream | None


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; nothing but this file is ever opened.

    Raises
    ------
    ItemError
        ``missing``, ``empty_file`` or ``not_media``.
    """
    path = Path(os.path.abspath(path))  # an absolute path cannot be taken for a protocol or option
    if not path.is_file():
        raise ItemError(Status.MISSING, "the file is not there")
    if path.stat().st_size == 0:
        raise ItemError(Status.EMPTY_FILE, "the file has no bytes")
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
    try:
        container = av.open(str(path), options=limits, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ItemError(Status.NOT_MEDIA, f"no known container opens it ({reason})") from None
    with container:
        yield container


def probe(path: Path) -> Media:
    """Read a file's header.

    Raises
    ------
    ItemError
        The file cannot be opened, or has neither pictures nor sound.
    """
    with open_media(path) as container:
        return describe(container, path)


def describe(container: InputContainer, path: Path) -> Media:
    """Return what is in the open file at ``path``.

    Raises
    ------
    ItemError
        ``not_media``: it has neither pictures nor sound.
    """
    pictures = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context
    ]
    sounds = [
        stream
        for stream in container.streams.audio
        if stream.codec_context and stream.rate and stream.channels
    ]
    if not pictures and not sounds:
        raise ItemError(Status.NOT_MEDIA, "it has neither pictures nor sound")
    used = [*pictures[:1], *sounds[:1]]
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in used
        if stream.start_time is not None and stream.time_base
    ]
    sound = sounds[0] if sounds else None
    return Media(
        path=Path(os.path.abspath(path)),
        # Below 0 lies only what a codec needs before its first sample, never shown or heard.
        origin=max(0.0, min(starts, default=0.0)),
        seconds=(container.duration or 0) / av.time_base,
        video=pictures[0].index if pictures else None,
        only_video=len(container.streams.video) == 1,
        audio=AudioStream(sound.index, sound.rate, sound.channels) if sound else None,
    )
