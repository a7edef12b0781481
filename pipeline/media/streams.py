"""Choice among several video or audio streams of a file: the one that players show or play.

Order of preference, as in the ffmpeg program except for the second:

1. a stream that is marked as the default;
2. one that is meant for everyone: not a commentary, not for the visually or hearing impaired;
3. the largest picture, or the most channels;
4. the first in the file.

Cover art and timed thumbnails are never a file's video.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from av.audio.stream import AudioStream
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

STANDS_FOR_THE_FILE = Disposition.attached_pic | Disposition.timed_thumbnails
FOR_SOME = (
    Disposition.comment
    | Disposition.lyrics
    | Disposition.karaoke
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
    | Disposition.non_diegetic
    | Disposition.descriptions
    | Disposition.metadata
    | Disposition.dependent
)

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)


def choose(streams: Sequence[AnyStream]) -> AnyStream | None:
    """Return the stream to decode, or None if there is none."""
    return max(streams, key=_rank, default=None)


def choice_note(chosen: Stream | None, streams: Iterable[Stream]) -> str:
    """Return in words which stream was chosen and which were not; empty if it is the only one."""
    others = [_named(stream) for stream in streams if stream is not chosen]
    if chosen is None or not others:
        return ""
    return f"{chosen.type} stream {_named(chosen)} is used, not {', '.join(others)}"


def _rank(stream: VideoStream | AudioStream) -> tuple[bool, bool, int]:
    """Return what makes a stream preferable; of equal ones the first is taken."""
    if isinstance(stream, VideoStream):
        size = stream.codec_context.width * stream.codec_context.height
    else:
        size = stream.channels
    disposition = stream.disposition
    return bool(disposition & Disposition.default), not disposition & FOR_SOME, size or 0


def _named(stream: Stream) -> str:
    marks = [mark.name for mark in Disposition if mark & stream.disposition and mark.name]
    words = [word.replace("_", " ") for word in marks if word != "default"]
    return f"{stream.index} ({', '.join(words)})" if words else str(stream.index)
