"""Opening and probing of media files; the package opens them only here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from pipeline.core.errors import ItemError, Status

# Self-contained containers only: playlists, concat lists and image sequences could refer to other
# files and URLs. Nor bare codec streams without times, such as .h264, whose times would be made up.
# PyAV and the ffmpeg program get the same two lists.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,wav,mp3,flac,aac,"
    "aiff,ac3,amr,ape,apng,au,caf,dsf,dts,dtshd,dv,eac3,gif,gxf,ivf,loas,mlp,mpc,mpc8,mxf,nut,rm,"
    "swf,tak,truehd,tta,voc,w64,wtv,wv,yuv4mpegpipe"
)
PROTOCOLS = "file"


@dataclass(frozen=True)
class AudioStream:
    """An audio stream: its index in the file, sample rate in Hz and number of channels."""

    index: int
    rate: int
    channels: int


@dataclass(frozen=True)
class Media:
    """The contents of a media file.

    Attributes
    ----------
    path
        Absolute path.
    origin
        Zero of the shared clock on the container's timeline, in seconds.
    seconds
        Duration according to the header; 0 if unknown.
    video
        Index of the video stream, or None.
    only_video
        Whether it is the only video stream (cover art counts as one).
    audio
        The audio stream, or None.
    """

    path: Path
    origin: float
    seconds: float
    video: int | None
    only_video: bool
    audio: AudioStream | None


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading; no other file or URL is ever opened.

    Raises
    ------
    ItemError
        ``missing``, ``empty_file`` or ``not_media``.
    """
    path = Path(os.path.abspath(path))  # an absolute path cannot pass as a protocol or option
    if not path.is_file():
        raise ItemError(Status.MISSING, "the file does not exist")
    if path.stat().st_size == 0:
        raise ItemError(Status.EMPTY_FILE, "the file is empty")
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
    try:
        container = av.open(str(path), options=limits, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ItemError(Status.NOT_MEDIA, f"not a supported media file ({reason})") from None
    with container:
        yield container


def probe(path: Path) -> Media:
    """Read a file's header.

    Raises
    ------
    ItemError
        The file cannot be opened, or has neither a video nor an audio stream.
    """
    with open_media(path) as container:
        return describe(container, path)


def describe(container: InputContainer, path: Path) -> Media:
    """Return the contents of the open file at ``path``.

    Raises
    ------
    ItemError
        ``not_media``: it has neither a video nor an audio stream.
    """
    videos = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context
    ]
    audios = [
        stream
        for stream in container.streams.audio
        if stream.codec_context and stream.rate and stream.channels
    ]
    if not videos and not audios:
        raise ItemError(Status.NOT_MEDIA, "the file has neither a video nor an audio stream")
    used = [*videos[:1], *audios[:1]]
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in used
        if stream.start_time is not None and stream.time_base
    ]
    audio = audios[0] if audios else None
    return Media(
        path=Path(os.path.abspath(path)),
        # Times below 0 are codec priming, which is never played.
        origin=max(0.0, min(starts, default=0.0)),
        seconds=(container.duration or 0) / av.time_base,
        video=videos[0].index if videos else None,
        only_video=len(container.streams.video) == 1,
        audio=AudioStream(audio.index, audio.rate, audio.channels) if audio else None,
    )
