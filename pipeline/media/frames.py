"""Decoding of a window's frames: chosen by presentation time, transformed for the encoder."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, Status
from pipeline.media.probe import open_media
from pipeline.media.random_access import is_entry
from pipeline.media.sampling import Sampler, Timeline
from pipeline.media.transforms import upright
from pipeline.media.window import Track, Window

# Clocks that round: Matroska and FLV have this tick. AVI's coarser one counts frames exactly.
COARSEST_CLOCK_SECONDS = 0.001

# decord's times are float32 seconds on the file's own clock.
DECORD_TOLERANCE_SECONDS = 0.001

Picture = NDArray[np.uint8]
Shape = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Frames:
    """The frames chosen for a window.

    Attributes
    ----------
    pictures
        ``[F, H, W, 3]`` uint8 RGB, transformed, in the sampler's order.
    pts
        Presentation time of each, in the stream's ticks.
    first, end
        When the first frame appears and the last one ends, in seconds from the window's start;
        the stream is not read beyond the window. The only picture of a stream is shown until the
        file ends.
    backend
        ``decord`` or ``pyav``.
    damaged
        Number of packets that could not be decoded and of frames that the decoder concealed, up to
        the point where decoding stopped. VP8 and VP9 decoders accept any data, and decord does not
        report damage.
    is_still
        Whether a single picture is shown, to which no other follows.
    """

    pictures: Picture
    pts: NDArray[np.int64]
    first: float
    end: float
    backend: str
    damaged: int
    is_still: bool = False


def read_frames(
    window: Window,
    per_segment: int,
    sampler: Sampler,
    shape: Shape,
    decoder: str = "pyav",
    deadline: float = math.inf,
) -> Frames:
    """Decode the frames of a window's segments.

    Parameters
    ----------
    window
        T segments of a file with a video stream.
    per_segment
        K, frames per segment.
    sampler
        Chooses ``T * K`` frames by their presentation times (see ``sampling``).
    shape
        Transforms an upright frame ``[H, W, 3]``.
    decoder
        ``pyav`` decodes only what the chosen frames depend on, which measured faster. ``decord``
        is used only where it is exact: windows at the start of the file, no edit list, no display
        matrix, times that agree with the packets', and H.264, VP8, VP9 or AV1 whose key frames are
        all entries (see ``random_access``); it seeks to other key frames too and returns later
        frames. PyAV decodes all others.
    deadline
        Time (``time.monotonic``) at which to give up.

    Raises
    ------
    ItemError
        ``decode_error``: no frame can be decoded; ``timeout``: not all are at the deadline.
    """
    if window.video is None:
        raise ItemError(Status.NO_VIDEO_STREAM, "the file has no video stream")
    if not window.video.packets:
        raise ItemError(Status.NO_VIDEO_STREAM, "the video has no frames in the window")
    read = functools.partial(_read, window, per_segment, sampler, shape, decoder, deadline)
    if make_strict(window.video.stream):
        return _read_strictly(window.media.path, window.video, read)
    return read(window.video)


def make_strict(stream: Stream) -> bool:
    """Let a stream's decoder stop at errors, if it does not report damage otherwise.

    A lenient HEVC decoder does not: of 40 clips with two corrupted bytes it reported none, the
    strict one 22, at no cost for intact files.
    """
    context: Any = stream.codec_context
    is_silent = context.codec.canonical_name == "hevc"
    if is_silent:
        context.options = {"err_detect": "explode"}
    return bool(is_silent)


def _read_strictly(path: Path, track: Track, read: Callable[[Track], Frames]) -> Frames:
    """Read frames with a decoder that stops at errors; if it does, read again with a lenient one.

    A strict decoder loses the frames after an error, and playable files may contain harmless ones.
    """
    damaged = 1
    try:
        frames = read(track)
        if not frames.damaged:
            return frames
        damaged = frames.damaged
    except ItemError as error:
        if error.status == Status.TIMEOUT:
            raise
    with open_media(path) as again:  # decoders read their options only once
        lenient = read(replace(track, stream=again.streams[track.stream.index]))
    return replace(lenient, damaged=max(damaged, lenient.damaged))


def _read(
    window: Window,
    per_segment: int,
    sampler: Sampler,
    shape: Shape,
    decoder: str,
    deadline: float,
    track: Track,
) -> Frames:
    reader = FrameReader(track, window, deadline)
    timeline, backend = reader.timeline(), "pyav"
    pictures: dict[int, Picture] = {}
    if timeline is not None:
        chosen = sampler(timeline, window.segments, per_segment)
        can_be_exact = window.media.only_video and reader.is_plain
        if decoder == "decord" and can_be_exact and not reader.is_turned():
            pictures = _decord_pictures(window, timeline, chosen, shape)
            backend = "decord" if pictures else "pyav"
        if not pictures:
            pictures = reader.decode(set(timeline.pts[chosen].tolist()), shape)
    if timeline is None or not set(timeline.pts[chosen].tolist()) <= set(pictures):
        # Packets lack times, or some give no frame: take the times from the decoder.
        timeline = reader.decoded_timeline()
        chosen = sampler(timeline, window.segments, per_segment)
        pictures = reader.decode(set(timeline.pts[chosen].tolist()), shape, skip=False)
    is_still = reader.is_only(timeline)
    return Frames(
        pictures=np.stack([pictures[pts] for pts in timeline.pts[chosen].tolist()]),
        pts=timeline.pts[chosen],
        first=float(timeline.seconds[0]),
        end=_end_of_still(timeline, window) if is_still else timeline.end,
        backend=backend,
        damaged=reader.damaged,
        is_still=is_still,
    )


class FrameReader:
    """PyAV decoding of one window's packets; can be repeated.

    ``is_plain``: the packets start with the stream's first one, each is a displayed frame, so
    timeline indices are decord's frame numbers, and decoding can start at every key frame.
    """

    def __init__(self, track: Track, window: Window, deadline: float = math.inf) -> None:
        if not isinstance(track.stream, VideoStream):
            raise ItemError(Status.NO_VIDEO_STREAM, "the file has no video stream")
        self._track = track
        self._stream = track.stream
        self._packets = track.packets
        self._window = window
        self._deadline = deadline
        self._tick = float(track.stream.time_base or 0)
        # Videos are decoded in parallel processes; threads within one only add copies.
        track.stream.codec_context.thread_count = 1
        # One, single-threaded: creating one costs as much as three conversions.
        self._reformatter = VideoReformatter()
        self.damaged = 0
        self.is_plain = False

    def timeline(self) -> Timeline | None:
        """Return the timeline from the packets alone, or None if they lack times."""
        if not self._track.is_timed:
            return None
        shown = [packet for packet in self._packets if not packet.is_discard]
        if not shown or any(packet.pts is None for packet in shown):
            return None
        ticks = {packet.pts: packet.duration or 0 for packet in shown if packet.pts is not None}
        complete = len(ticks) == len(shown) == len(self._packets)
        self.is_plain = (
            self._track.from_start and complete and min(ticks) == 0 and self._starts_cleanly()
        )
        return timeline_of(ticks, self._tick, self._window)

    def _starts_cleanly(self) -> bool:
        """Return whether every key frame is an entry."""
        keys = (packet for packet in self._packets if packet.is_keyframe)
        return all(is_entry(self._stream, packet) for packet in keys)

    def decoded_timeline(self) -> Timeline:
        """Return the timeline by decoding all frames.

        Raises
        ------
        ItemError
            ``decode_error``: there is no frame.
        """
        ticks = {
            frame.pts: frame.duration or 0
            for frame in self._in_time(self.frames([self._packets], None))
            if frame.pts is not None
        }
        if not ticks:
            raise ItemError(Status.DECODE_ERROR, "no frame of the window can be decoded")
        return timeline_of(ticks, self._tick, self._window)

    def is_only(self, timeline: Timeline) -> bool:
        """Return whether a timeline's only frame is also the stream's."""
        is_first = self._track.from_start or timeline.pts[0] == self._stream.start_time
        return len(self._packets) == len(timeline.pts) == 1 and bool(is_first)

    def is_turned(self) -> bool:
        """Return whether pictures are stored in another orientation than they are shown in."""
        return any(map(display_matrix, itertools.islice(self.frames([self._packets], None), 1)))

    def decode(self, wanted: set[int], shape: Shape, skip: bool = True) -> dict[int, Picture]:
        """Return the transformed frames at the ``wanted`` times, as far as they can be decoded.

        With ``skip``, decode only what they depend on: leave out unreferenced frames, and the rest
        of a group after its last wanted frame.
        """
        groups = self._groups(wanted) if skip else [self._packets]
        pictures: dict[int, Picture] = {}
        for frame in self._in_time(self.frames(groups, wanted if skip else None)):
            if frame.pts in wanted:
                pictures[frame.pts] = self.picture(frame, shape)
                if len(pictures) == len(wanted):
                    break
        return pictures

    def _in_time(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        for frame in frames:
            if time.monotonic() > self._deadline:
                raise late_error()
            yield frame

    def picture(self, frame: VideoFrame, shape: Shape) -> Picture:
        """Return a frame as an upright RGB picture, transformed."""
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return shape(upright(rgb.astype(np.uint8, copy=False), display_matrix(frame)))

    def _groups(self, wanted: set[int]) -> list[list[Packet[Stream]]]:
        """Return the groups of pictures with wanted frames, each up to its last wanted packet.

        Packets are in decoding order: none depends on a later one, nor on any before the start of
        its group.
        """
        begins = self._entry_indices()
        groups = []
        for first, stop in itertools.pairwise([*begins, len(self._packets)]):
            indices = [p for p in range(first, stop) if self._packets[p].pts in wanted]
            if indices:
                groups.append(self._packets[first : indices[-1] + 1])
        return groups

    def _entry_indices(self) -> list[int]:
        """Return the indices of packets at which decoding can start cleanly.

        Such a packet refers to no earlier one, and all later packets are shown after it.
        """
        begins = []
        earliest: float = np.inf
        for index in range(len(self._packets) - 1, 0, -1):
            packet = self._packets[index]
            earliest = min(earliest, packet.pts if packet.pts is not None else -np.inf)
            if packet.pts == earliest and is_entry(self._stream, packet):
                begins.append(index)
        return [0, *reversed(begins)]

    def frames(
        self, groups: Iterable[Iterable[Packet[Stream]]], wanted: set[int] | None
    ) -> Generator[VideoFrame]:
        """Yield the frames of groups of packets, each decoded on its own.

        With ``wanted``, leave out unreferenced frames that are shown at other times.
        """
        context: Any = self._stream.codec_context
        # Wrapped decoders such as libdav1d read the option once and ignore later changes.
        can_skip = not context.codec.name.startswith("lib")
        self.damaged = 0
        latest = -1
        for group in groups:
            context.flush_buffers()
            for packet in itertools.chain(group, [None]):
                if can_skip and packet is not None:
                    is_needed = wanted is None or packet.pts in wanted
                    context.skip_frame = "DEFAULT" if is_needed else "NONREF"
                try:
                    frames = context.decode(packet)
                except av.FFmpegError:
                    self.damaged += 1
                    continue
                for frame in frames:
                    self.damaged += frame.is_corrupt
                    if not self._track.is_timed:  # shown when it leaves the decoder, as in ffmpeg
                        frame.pts = latest = latest + 1 if frame.dts is None else frame.dts
                    yield frame


def late_error() -> ItemError:
    """Return the error for frames that are not decoded at the deadline."""
    return ItemError(Status.TIMEOUT, "decoding the video takes longer than the time limit")


def timeline_of(ticks: Mapping[int, int], tick: float, window: Window) -> Timeline:
    """Return the timeline of frames with given times and durations, in ticks, for a window."""
    pts = np.array(sorted(ticks), dtype=np.int64)
    own = np.array([ticks[time] for time in pts.tolist()], dtype=np.float64)
    gaps = np.diff(pts)
    # The last frame has no successor: use its own duration, or else the median.
    last = own[-1] or (np.median(gaps) if len(gaps) else 0)
    durations = np.append(gaps, last) * tick
    rounding = min(tick, COARSEST_CLOCK_SECONDS) / 2
    timeline = Timeline(pts, pts * tick - window.zero, durations, rounding)
    is_whole = window.seconds == window.segments
    return timeline if is_whole else timeline.until(window.seconds)


def _end_of_still(timeline: Timeline, window: Window) -> float:
    """Return when a single picture ends: with the file, by its header, or the window."""
    end_of_file = window.media.origin + window.media.seconds - window.zero
    return min(max(timeline.end, end_of_file), window.seconds)


def display_matrix(frame: VideoFrame) -> bytes:
    """Return a frame's display matrix (see ``transforms.upright``), empty if it has none."""
    side_data: Any = frame.side_data  # its type in PyAV is not what it is
    return bytes(side_data[Type.DISPLAYMATRIX]) if Type.DISPLAYMATRIX in side_data else b""


def first_display_matrix(path: Path, index: int) -> bytes:
    """Return the display matrix of a video stream's first frame, empty if it has none."""
    with open_media(path) as container, suppress(av.FFmpegError):
        for frame in container.decode(container.streams[index]):
            return display_matrix(frame) if isinstance(frame, VideoFrame) else b""
    return b""


def _decord_pictures(
    window: Window, timeline: Timeline, chosen: NDArray[np.int64], shape: Shape
) -> dict[int, Picture]:
    """Return the chosen frames from decord, or nothing if it fails or its times differ."""
    import decord

    indices = sorted(set(chosen.tolist()))
    try:
        reader = decord.VideoReader(str(window.media.path), num_threads=1)
        times = reader.get_frame_timestamp(indices)[:, 0] - window.zero
        if np.abs(times - timeline.seconds[indices]).max() > DECORD_TOLERANCE_SECONDS:
            return {}
        frames = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError):
        return {}
    return {
        int(timeline.pts[index]): shape(frame) for index, frame in zip(indices, frames, strict=True)
    }
