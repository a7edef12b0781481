"""Opening and probing of media files; the package opens them only here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
from av.container import InputContainer
from av.stream import Stream

from pipeline.core.errors import ItemError, Status
from pipeline.media.streams import STANDS_FOR_THE_FILE, choice_note, choose

# Self-contained containers only: playlists, concat lists and image sequences could refer to other
# files and URLs. Nor bare codec streams without times, such as .h264, whose times would be made up.
# PyAV and the ffmpeg program get the same two lists.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,wav,mp3,flac,aac,"
    "aiff,ac3,amr,ape,apng,au,caf,dsf,dts,dtshd,dv,eac3,gif,gxf,ivf,loas,mlp,mpc,mpc8,mxf,nut,rm,"
    "swf,tak,truehd,tta,voc,w64,wtv,wv,yuv4mpegpipe"
)
PROTOCOLS = "file"

# Formats that do not list their streams at the start of the file, or list them without parameters.
WITHOUT_HEADER = {"mpegts", "mpeg", "flv"}
# What is read of a file in search of a stream that begins late; libavformat keeps it in memory.
LATE_STREAM_BYTES = 256 << 20
# No limit: 10 days, in microseconds.
LATE_STREAM_DURATION = 10**12

# Formats with a clock of 33 bits, which wraps around every 26.5 hours.
WRAPPING = {"mpegts", "mpeg"}


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
    choice
        Which streams were chosen among several, in words; empty if there was no choice.
    """

    path: Path
    origin: float
    seconds: float
    video: int | None
    only_video: bool
    audio: AudioStream | None
    choice: str = ""


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
    container = _open(path)
    if _may_have_late_streams(container):
        container.close()
        deep = {"probesize": LATE_STREAM_BYTES, "analyzeduration": LATE_STREAM_DURATION}
        container = _open(path, {option: str(value) for option, value in deep.items()})
    with container:
        yield container


def _open(path: Path, options: Mapping[str, str] = MappingProxyType({})) -> InputContainer:
    limits = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
    try:
        return av.open(str(path), options=limits | dict(options), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ItemError(Status.NOT_MEDIA, f"not a supported media file ({reason})") from None


def _may_have_late_streams(container: InputContainer) -> bool:
    """Return whether a stream may begin after the part of the file that has been read.

    The ffmpeg program overlooks these streams, or decodes them without knowing their parameters.
    """
    videos, audios = container.streams.video, container.streams.audio
    is_unknown = any(stream.codec_context and not stream.width for stream in videos) or any(
        stream.codec_context and not (stream.rate and stream.channels) for stream in audios
    )
    is_lacking = not videos or not audios
    return is_unknown or (is_lacking and container.format.name in WITHOUT_HEADER)


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
        if not stream.disposition & STANDS_FOR_THE_FILE and stream.codec_context
    ]
    audios = [
        stream
        for stream in container.streams.audio
        if stream.codec_context and stream.rate and stream.channels
    ]
    if not videos and not audios:
        raise ItemError(Status.NOT_MEDIA, "the file has neither a video nor an audio stream")
    video, audio = choose(videos), choose(audios)
    used: list[Stream] = [stream for stream in (video, audio) if stream]
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in used
        if stream.start_time is not None and stream.time_base
    ]
    return Media(
        path=Path(os.path.abspath(path)),
        origin=_origin(container, min(starts, default=0.0)),
        seconds=(container.duration or 0) / av.time_base,
        video=video.index if video else None,
        only_video=len(container.streams.video) == 1,
        audio=AudioStream(audio.index, audio.rate, audio.channels) if audio else None,
        choice="; ".join(filter(None, (choice_note(video, videos), choice_note(audio, audios)))),
    )


def _origin(container: InputContainer, start: float) -> float:
    """Return the clock's zero for streams that start at ``start``.

    Times below 0 are codec priming, which is never played, unless the clock wraps around soon
    after: then all before that is below 0.
    """
    return start if container.format.name in WRAPPING else max(0.0, start)
