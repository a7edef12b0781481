"""The videos that a user names: what their files contain, and their decoded windows."""

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
from pipeline.media.clock import Clock
from pipeline.media.frames import first_display_matrix
from pipeline.media.options import Decoding
from pipeline.media.probe import Media, open_media, probe
from pipeline.media.segments import SHORT_SECONDS, Decoded, decode_video
from pipeline.media.transforms import turn_of
from pipeline.media.video_window import VideoWindow, following_starts
from pipeline.media.worker import run_isolated

# Damaged times can claim any length; each hour is 720 windows of 10 s with an overlap of 5 s.
MAX_HOURS = 12
# The whole file is read to find its length; a slow disk or network reads 10 MB/s.
READ_BYTES_PER_SECOND = 10 << 20
# Seconds of video decoded in a second, at least.
SLOWEST_DECODING = 10


@dataclass(frozen=True)
class StreamFacts:
    """A video or audio stream.

    Attributes
    ----------
    index
        Its index in the file.
    codec
        The codec, by ffmpeg's name.
    pixels
        Pixel format; empty for audio.
    begin, end
        Start of the first packet and end of the last one, in seconds on the file's clock; 0 and
        infinity if packets have no times. A single picture is shown until the file ends.
    turn
        How pictures are shown otherwise than stored, see ``transforms.turn_of``.
    """

    index: int
    codec: str
    pixels: str = ""
    begin: float = 0.0
    end: float = math.inf
    turn: str = ""


@dataclass(frozen=True)
class MediaFacts:
    """What a file contains.

    Attributes
    ----------
    seconds
        Time from the clock's zero to the end of the longer stream, by the packets' times.
    container
        ffmpeg's names of its format, separated by commas.
    pictures, sound
        The streams that are parsed.
    origin
        The clock's zero on the container's timeline, in seconds.
    unknown
        Modalities whose streams all have an unknown codec.
    choice
        Which streams were chosen among several, in words; empty if there was no choice.
    """

    seconds: float
    container: str
    pictures: StreamFacts | None
    sound: StreamFacts | None
    origin: float = 0.0
    unknown: frozenset[str] = frozenset()
    choice: str = ""

    @property
    def length(self) -> int:
        """L, the number of seconds; a last half second or more counts as one."""
        return max(1, int(self.seconds + SHORT_SECONDS))

    @property
    def streams(self) -> Mapping[str, StreamFacts | None]:
        """The streams by modality."""
        return dict(zip(MODALITIES, (self.sound, self.pictures), strict=True))

    @property
    def coverage(self) -> NDArray[np.float64]:
        """How much of each second the streams cover, ``[2, L]`` in [0, 1]; audio comes first."""
        seconds = np.arange(self.length)
        covered = np.zeros((len(MODALITIES), self.length))
        for row, stream in zip(covered, self.streams.values(), strict=True):
            if stream:
                row[:] = np.minimum(stream.end, seconds + 1) - np.maximum(stream.begin, seconds)
        return np.clip(covered, 0, 1)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which seconds the streams contain, ``[2, L]``: those that they cover by half or more."""
        coverage = self.coverage
        return (coverage > 0) & (coverage >= SHORT_SECONDS * min(1, self.seconds))


@dataclass(frozen=True)
class InputVideo:
    """A video to parse.

    Attributes
    ----------
    name
        Name in tables and of its folder, unique among the videos of a run.
    path
        Its file.
    facts
        What the file contains.
    starts
        First second of each window.
    """

    name: str
    path: Path
    facts: MediaFacts
    starts: tuple[int, ...]


def inspect(path: Path) -> MediaFacts:
    """Read what a file contains; runs in a worker process.

    Raises
    ------
    ItemError
        It cannot be opened, is empty, or is longer than 12 hours.
    """
    media = probe(path)
    sound = media.audio.index if media.audio else None
    with open_media(path) as container:
        spans = _spans(container, [index for index in (media.video, sound) if index is not None])
        seconds = max((end for _, end, _ in spans.values()), default=0.0) - media.origin
        if seconds <= 0:
            seconds = media.seconds
        if seconds > MAX_HOURS * 3600:
            raise ItemError(
                Status.TOO_LONG,
                f"it lasts {seconds / 3600:.1f} hours; at most {MAX_HOURS} can be parsed, so cut it"
                " into parts",
            )
        if media.video in spans and spans[media.video][2] == 1:
            spans[media.video] = spans[media.video][0], media.origin + seconds, 1
        return MediaFacts(
            seconds=seconds,
            container=container.format.name,
            pictures=_stream(container, media, media.video, spans),
            sound=_stream(container, media, sound, spans),
            origin=media.origin,
            unknown=_unknown(container),
            choice=media.choice,
        )


def _spans(
    container: InputContainer, indices: Sequence[int]
) -> dict[int, tuple[float, float, int]]:
    """Return start and end of streams on the container's timeline, and their numbers of packets.

    Headers can be wrong.
    """
    spans: dict[int, tuple[float, float, int]] = {}
    try:
        streams = [container.streams[index] for index in indices]
        for packet in Clock(container, streams).rising(container.demux(streams)):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.time_base is None or packet.is_discard:
                continue
            begin = float(time * packet.time_base)
            end = begin + float((packet.duration or 0) * packet.time_base)
            first, last, count = spans.get(packet.stream_index, (begin, end, 0))
            spans[packet.stream_index] = min(first, begin), max(last, end), count + 1
    except av.FFmpegError:
        pass  # a truncated file has the packets before its end
    return spans


def _stream(
    container: InputContainer,
    media: Media,
    index: int | None,
    spans: Mapping[int, tuple[float, float, int]],
) -> StreamFacts | None:
    if index is None:
        return None
    context = container.streams[index].codec_context
    begin, end, _ = spans.get(index, (media.origin, math.inf, 0))
    return StreamFacts(
        index,
        context.codec.canonical_name,
        getattr(context, "pix_fmt", None) or "",
        begin - media.origin,
        end - media.origin,
        turn_of(first_display_matrix(media.path, index)) if index == media.video else "",
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
    """Return the videos that can be opened, and by name why the others cannot."""
    names, paths = list(named), list(named.values())
    largest = max((path.stat().st_size for path in paths if path.is_file()), default=0)
    limit = timeout_seconds + largest / READ_BYTES_PER_SECOND
    videos: dict[int, InputVideo] = {}
    failures: dict[str, ItemError] = {}
    for index, facts in run_isolated(inspect, paths, workers, limit):
        if isinstance(facts, ItemError):
            failures[names[index]] = facts
            continue
        starts = window_starts(facts.length, segments, overlap)
        videos[index] = InputVideo(names[index], paths[index], facts, starts)
    return [videos[index] for index in sorted(videos)], failures


def decode_windows(
    videos: Sequence[InputVideo], decoding: Decoding, workers: int, timeout_seconds: float
) -> Iterator[tuple[InputVideo, int, Decoded | ItemError]]:
    """Decode every window of every video; yield each as soon as it is decoded.

    Missing and undecodable parts are padded, whatever the run's policies (see ``Decoding``).

    Yields
    ------
    The video, the index of the window in it, and the decoded window or why decoding failed.
    """
    # The last window of a video with a single key frame needs all its frames.
    longest = max((video.facts.seconds for video in videos), default=0.0)
    limit = timeout_seconds + longest / SLOWEST_DECODING
    padded = decoding.model_copy(
        update={
            "missing_audio": "pad",
            "missing_video": "pad",
            "short": "pad",
            "timeout_seconds": limit,
        }
    )
    windows = [
        (video, index, _window(video, index, decoding.segments))
        for video in videos
        for index in range(len(video.starts))
    ]
    decode = functools.partial(decode_video, decoding=padded)
    outcomes = run_isolated(decode, [window for _, _, window in windows], workers, limit)
    for number, outcome in track(outcomes, len(windows), "parse", "windows"):
        video, index, _ = windows[number]
        yield video, index, outcome


def _window(video: InputVideo, index: int, segments: int) -> VideoWindow:
    start = video.starts[index]
    end = start + segments
    following = following_starts(video.starts, index, end)
    return VideoWindow(video.name, str(video.path), start, end, following=following)
