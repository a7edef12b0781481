"""The videos that a person gives: what their files hold, and their decoded windows."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.container import InputContainer

from pipeline.errors import ItemError, Status
from pipeline.manifest import Row
from pipeline.media.probe import open_media, probe
from pipeline.media.worker import run_isolated
from pipeline.parse.listing import safe_names
from pipeline.parse.windows import window_starts
from pipeline.progress import track
from pipeline.segments import Decoded, Decoding, decode_video

# A header can claim any length; each hour costs 720 windows of 10 seconds.
MOST_HOURS = 12


@dataclass(frozen=True)
class Stream:
    """A picture or sound stream: its index in the file, codec, and pixel format (or none)."""

    index: int
    codec: str
    pixels: str = ""


@dataclass(frozen=True)
class Facts:
    """What a file holds.

    Attributes
    ----------
    seconds
        From the clock's zero to the end of the longer stream, by the packets' times.
    container
        ffmpeg's names of its format, joined by commas.
    pictures, sound
        The streams that are parsed.
    """

    seconds: float
    container: str
    pictures: Stream | None
    sound: Stream | None

    @property
    def length(self) -> int:
        """L, seconds to parse: a last half second or more counts as one."""
        return max(1, int(self.seconds + 0.5))


@dataclass(frozen=True)
class Video:
    """A video to parse.

    Attributes
    ----------
    name
        Safe as a folder's name and in a table, unique among the videos given together.
    path
        Its file.
    facts
        What it holds.
    starts
        First second of each window.
    """

    name: str
    path: Path
    facts: Facts
    starts: tuple[int, ...]


def inspect(path: Path) -> Facts:
    """Read what a file holds; meant for a worker process.

    Raises
    ------
    ItemError
        It cannot be opened, holds nothing, or claims to be longer than half a day.
    """
    media = probe(path)
    sound = media.audio.index if media.audio else None
    with open_media(path) as container:
        used = [index for index in (media.video, sound) if index is not None]
        seconds = _end_of(container, used) - media.origin
        if seconds <= 0:
            seconds = media.seconds
        if seconds > MOST_HOURS * 3600:
            raise ItemError(
                Status.NOT_MEDIA, f"it claims {seconds / 3600:.0f} hours; {MOST_HOURS} are allowed"
            )
        return Facts(
            seconds=seconds,
            container=container.format.name,
            pictures=_stream(container, media.video),
            sound=_stream(container, sound),
        )


def _end_of(container: InputContainer, indices: Sequence[int]) -> float:
    """Return when the last packet of some streams ends, in seconds; headers lie about it."""
    end = 0.0
    try:
        for packet in container.demux([container.streams[index] for index in indices]):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
    except av.FFmpegError:
        pass  # a file cut in the middle gives what it has
    return end


def _stream(container: InputContainer, index: int | None) -> Stream | None:
    if index is None:
        return None
    context = container.streams[index].codec_context
    return Stream(index, context.codec.canonical_name, getattr(context, "pix_fmt", None) or "")


def inspect_videos(
    paths: Sequence[Path], segments: int, overlap: int, workers: int, timeout_seconds: float
) -> tuple[list[Video], dict[str, ItemError]]:
    """Return the videos that can be opened, and why the others, by name, cannot."""
    names = safe_names(paths)
    videos: dict[int, Video] = {}
    failures: dict[str, ItemError] = {}
    for place, facts in run_isolated(inspect, paths, workers, timeout_seconds):
        if isinstance(facts, ItemError):
            failures[names[place]] = facts
            continue
        starts = window_starts(facts.length, segments, overlap)
        videos[place] = Video(names[place], paths[place], facts, starts)
    return [videos[place] for place in sorted(videos)], failures


def decode_windows(
    videos: Sequence[Video], decoding: Decoding, workers: int, timeout_seconds: float
) -> Iterator[tuple[Video, int, Decoded | ItemError]]:
    """Decode every window of every video as a video of its own; yield them as they are done.

    A stream that is missing or over is padded, whatever the run's policies: see ``Decoding``.

    Yields
    ------
    The video, the window's place in it, and the window or why it cannot be had.
    """
    padded = replace(decoding, missing_audio="pad", missing_video="pad", short="pad")
    rows = [
        (video, place, Row(video.name, "", 0, str(video.path), start, start + decoding.segments))
        for video in videos
        for place, start in enumerate(video.starts)
    ]
    decode = functools.partial(decode_video, decoding=padded)
    outcomes = run_isolated(decode, [row for _, _, row in rows], workers, timeout_seconds)
    for index, outcome in track(outcomes, len(rows), "parse", "windows"):
        video, place, _ = rows[index]
        yield video, place, outcome
