"""The videos that a person gives: what their files hold, and their decoded windows."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, Status
from pipeline.core.progress import track
from pipeline.core.vocabulary import MODALITIES
from pipeline.inference.windows import window_starts
from pipeline.media.options import Decoding
from pipeline.media.probe import Media, open_media, probe
from pipeline.media.segments import SHORT_SECONDS, Decoded, decode_video
from pipeline.media.video_window import VideoWindow
from pipeline.media.worker import run_isolated

# Times in a file can claim any length; each hour costs 720 windows of 10 seconds.
MOST_HOURS = 12
# To see how long a video is, all of its file is read: a slow disk or network does 10 MB/s.
READ_BYTES_A_SECOND = 10 << 20


@dataclass(frozen=True)
class StreamFacts:
    """A picture or sound stream.

    Attributes
    ----------
    index
        Its place in the file.
    codec
        By ffmpeg's name.
    pixels
        Pixel format, or nothing.
    begin, end
        When its first packet begins and its last one ends, in seconds on the file's clock; all
        the time where packets do not say.
    """

    index: int
    codec: str
    pixels: str = ""
    begin: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class MediaFacts:
    """What a file holds.

    Attributes
    ----------
    seconds
        From the clock's zero to the end of the longer stream, by the packets' times.
    container
        ffmpeg's names of its format, joined by commas.
    pictures, sound
        The streams that are parsed.
    origin
        Time of the clock's zero on the container's timeline, in seconds.
    unknown
        Modalities of which there are streams, but none of a codec that is known.
    """

    seconds: float
    container: str
    pictures: StreamFacts | None
    sound: StreamFacts | None
    origin: float = 0.0
    unknown: frozenset[str] = frozenset()

    @property
    def length(self) -> int:
        """L, seconds to parse: a last half second or more counts as one."""
        return max(1, int(self.seconds + SHORT_SECONDS))

    @property
    def streams(self) -> Mapping[str, StreamFacts | None]:
        """The streams by modality."""
        return dict(zip(MODALITIES, (self.sound, self.pictures), strict=True))

    @property
    def coverage(self) -> NDArray[np.float64]:
        """How much of each second the streams last, ``[2, L]`` in [0, 1]; audio, then visual."""
        seconds = np.arange(self.length)
        covered = np.zeros((len(MODALITIES), self.length))
        for row, stream in zip(covered, self.streams.values(), strict=True):
            if stream:
                row[:] = np.minimum(stream.end, seconds + 1) - np.maximum(stream.begin, seconds)
        return np.clip(covered, 0, 1)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which seconds the streams have, ``[2, L]``: those of which they last half or more."""
        coverage = self.coverage
        return (coverage > 0) & (coverage >= SHORT_SECONDS * min(1, self.seconds))


@dataclass(frozen=True)
class InputVideo:
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
    facts: MediaFacts
    starts: tuple[int, ...]


def inspect(path: Path) -> MediaFacts:
    """Read what a file holds; meant for a worker process.

    Raises
    ------
    ItemError
        It cannot be opened, holds nothing, or is longer than half a day.
    """
    media = probe(path)
    sound = media.audio.index if media.audio else None
    with open_media(path) as container:
        spans = _spans(container, [index for index in (media.video, sound) if index is not None])
        seconds = max((end for _, end in spans.values()), default=0.0) - media.origin
        if seconds <= 0:
            seconds = media.seconds
        if seconds > MOST_HOURS * 3600:
            raise ItemError(
                Status.TOO_LONG,
                f"it lasts {seconds / 3600:.1f} hours, and at most {MOST_HOURS} are parsed; cut it"
                " into parts",
            )
        return MediaFacts(
            seconds=seconds,
            container=container.format.name,
            pictures=_stream(container, media, media.video, spans),
            sound=_stream(container, media, sound, spans),
            origin=media.origin,
            unknown=_unknown(container),
        )


def _spans(container: InputContainer, indices: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return when streams begin and end on the container's timeline; headers lie about it."""
    spans: dict[int, tuple[float, float]] = {}
    try:
        for packet in container.demux([container.streams[index] for index in indices]):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.time_base is None or packet.is_discard:
                continue
            begin = float(time * packet.time_base)
            end = begin + float((packet.duration or 0) * packet.time_base)
            first, last = spans.get(packet.stream_index, (begin, end))
            spans[packet.stream_index] = min(first, begin), max(last, end)
    except av.FFmpegError:
        pass  # a file cut in the middle gives what it has
    return spans


def _stream(
    container: InputContainer,
    media: Media,
    index: int | None,
    spans: Mapping[int, tuple[float, float]],
) -> StreamFacts | None:
    if index is None:
        return None
    context = container.streams[index].codec_context
    begin, end = spans.get(index, (media.origin, math.inf))
    return StreamFacts(
        index,
        context.codec.canonical_name,
        getattr(context, "pix_fmt", None) or "",
        begin - media.origin,
        end - media.origin,
    )


def _unknown(container: InputContainer) -> frozenset[str]:
    streams = {"audio": container.streams.audio, "visual": container.streams.video}
    return frozenset(
        modality
        for modality, found in streams.items()
        if found and not any(stream.codec_context for stream in found)
    )


def inspect_videos(
    named: Mapping[str, Path], segments: int, overlap: int, workers: int, timeout_seconds: float
) -> tuple[list[InputVideo], dict[str, ItemError]]:
    """Return the videos that can be opened, and why the others, by name, cannot."""
    names, paths = list(named), list(named.values())
    largest = max((path.stat().st_size for path in paths if path.is_file()), default=0)
    patience = timeout_seconds + largest / READ_BYTES_A_SECOND
    videos: dict[int, InputVideo] = {}
    failures: dict[str, ItemError] = {}
    for place, facts in run_isolated(inspect, paths, workers, patience):
        if isinstance(facts, ItemError):
            failures[names[place]] = facts
            continue
        starts = window_starts(facts.length, segments, overlap)
        videos[place] = InputVideo(names[place], paths[place], facts, starts)
    return [videos[place] for place in sorted(videos)], failures


def decode_windows(
    videos: Sequence[InputVideo], decoding: Decoding, workers: int, timeout_seconds: float
) -> Iterator[tuple[InputVideo, int, Decoded | ItemError]]:
    """Decode every window of every video as a video of its own; yield them as they are done.

    What a stream lacks or cannot decode is padded, whatever the run's policies: see ``Decoding``.

    Yields
    ------
    The video, the window's place in it, and the window or why it cannot be had.
    """
    padded = decoding.model_copy(
        update={"missing_audio": "pad", "missing_video": "pad", "short": "pad"}
    )
    windows = [
        (
            video,
            place,
            VideoWindow(video.name, str(video.path), start, start + decoding.segments),
        )
        for video in videos
        for place, start in enumerate(video.starts)
    ]
    decode = functools.partial(decode_video, decoding=padded)
    outcomes = run_isolated(decode, [window for _, _, window in windows], workers, timeout_seconds)
    for index, outcome in track(outcomes, len(windows), "parse", "windows"):
        video, place, _ = windows[index]
        yield video, place, outcome
