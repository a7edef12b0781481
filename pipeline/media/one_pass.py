"""One pass over a video with few key frames, for all windows of it that a process decodes.

A window's frames depend on everything since the last key frame. Where that is long ago, the
process keeps the decoder as it is after a window, and goes on from there for the next one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from av.packet import Packet
from av.stream import Stream

from pipeline.media.frames import (
    FrameReader,
    Frames,
    Picture,
    Shape,
    late_error,
    make_strict,
    timeline_of,
)
from pipeline.media.options import Decoding
from pipeline.media.probe import Media, open_media
from pipeline.media.sampling import SAMPLERS, Timeline
from pipeline.media.window import MARGIN_SECONDS, Track, Window

# How long before a window its last key frame must be for the decoder to be kept.
LONG_SECONDS = 20.0
# How far beyond what has been read a window may begin to be reached by going on.
REACH_SECONDS = 30.0


@dataclass
class _Process:
    """The pass that this process has begun, if any."""

    one_pass: OnePass | None = None

    def begin(self, one_pass: OnePass | None) -> None:
        if self.one_pass:
            self.one_pass.close()
        self.one_pass = one_pass


_PROCESS = _Process()


def is_reached(media: Media, start: float, decoding: Decoding) -> bool:
    """Return whether the pass that this process has begun reaches a window of a file."""
    one_pass = _PROCESS.one_pass
    return one_pass is not None and one_pass.reaches(media, start, decoding)


def read_in_pass(
    window: Window, following: Sequence[float], decoding: Decoding, shape: Shape, deadline: float
) -> Frames | None:
    """Return the frames of a window from a pass over its file, or None if there is none.

    Parameters
    ----------
    window
        The window; its video track may be left out where `is_reached`.
    following
        Start of the next windows of the file, in seconds on its clock.
    decoding
        Decoding options.
    shape, deadline
        See ``read_frames``.

    Raises
    ------
    ItemError
        ``timeout``: see ``read_frames``.
    """
    if following and window.video and _is_long(window, window.video):
        _PROCESS.begin(OnePass(window, window.video, decoding, shape))
    start = window.zero - window.media.origin
    if not _PROCESS.one_pass or not is_reached(window.media, start, decoding):
        return None
    frames = _PROCESS.one_pass.read(window, following, deadline)
    if not frames:
        _PROCESS.begin(None)
    return frames


def _is_long(window: Window, track: Track) -> bool:
    is_still = len(track.packets) < 2
    if window.joins or is_still or not track.is_timed or track.packets[0].pts is None:
        return False
    begin = float(track.packets[0].pts * (track.stream.time_base or 0))
    return window.zero - begin > LONG_SECONDS


class OnePass:
    """The decoder of a file, the packets read ahead of it, and pictures that windows still want."""

    def __init__(self, window: Window, track: Track, decoding: Decoding, shape: Shape) -> None:
        self._media, self._decoding, self._shape = window.media, decoding, shape
        self._opened = open_media(window.media.path)
        container = self._opened.__enter__()
        self._stream: Stream = container.streams[track.stream.index]
        self._tick = float(self._stream.time_base or 0)
        first = track.packets[0]
        if not track.from_start:
            container.seek(first.pts or 0, stream=self._stream)
        self._demuxed = _from(first, container.demux(self._stream))
        self._ahead: deque[Packet[Stream]] = deque()
        self._read_until = window.zero
        self._is_timed = True
        self._ticks: dict[int, int] = {}
        self._wanted: set[int] = set()
        self._pictures: dict[int, Picture] = {}
        self._forgotten = -np.inf
        self._shown: float = -np.inf
        self._is_strict = make_strict(self._stream)
        self._reader = FrameReader(Track(self._stream, [], from_start=False), window)
        self._frames = self._reader.frames([self._packets()], self._wanted)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._opened.__exit__(None, None, None)

    def reaches(self, media: Media, start: float, decoding: Decoding) -> bool:
        """Return whether a window that starts at ``start`` can be read by going on."""
        zero = self._media.origin + start
        is_ahead = self._forgotten <= zero <= self._read_until + REACH_SECONDS
        return is_ahead and (media, decoding) == (self._media, self._decoding)

    def read(self, window: Window, following: Sequence[float], deadline: float) -> Frames | None:
        """Return the frames of a window, or None if the pass cannot tell them.

        What the next windows want is kept as well, as far as the decoder comes.
        """
        zeros = [window.zero, *(window.media.origin + start for start in following)]
        if not self._read_ahead(max(zeros) + window.segments + MARGIN_SECONDS):
            return None
        self._forget_before(window.zero)
        timelines = [timeline_of(self._ticks, self._tick, replace(window, zero=z)) for z in zeros]
        chosen = [self._choose(timeline) for timeline in timelines]
        self._wanted.clear()
        self._wanted.update(*chosen)
        is_complete = self._decode(set(chosen[0]), deadline)
        if not is_complete or (self._is_strict and self._reader.damaged):
            return None
        frames = Frames(
            pictures=np.stack([self._pictures[pts] for pts in chosen[0]]),
            pts=np.array(chosen[0], dtype=np.int64),
            first=float(timelines[0].seconds[0]),
            end=timelines[0].end,
            backend="pyav",
            damaged=self._reader.damaged,
        )
        wanted = set[int]().union(*chosen[1:])
        self._pictures = {pts: self._pictures[pts] for pts in wanted & self._pictures.keys()}
        return frames

    def _choose(self, timeline: Timeline) -> list[int]:
        sampler, decoding = SAMPLERS[self._decoding.sampling], self._decoding
        indices = sampler(timeline, decoding.segments, decoding.frames_per_segment)
        pts: list[int] = timeline.pts[indices].tolist()
        return pts

    def _read_ahead(self, stop: float) -> bool:
        """Read the packets before ``stop``; return whether all have times."""
        while self._read_until <= stop and self._read_one():
            pass
        return self._is_timed and bool(self._ticks)

    def _read_one(self) -> bool:
        packet = next(self._demuxed, None)
        if packet is None:
            return False
        self._ahead.append(packet)
        if packet.pts is None or packet.dts is None:
            self._is_timed = False
            return False
        self._read_until = packet.dts * self._tick
        if not packet.is_discard:
            self._ticks[packet.pts] = packet.duration or 0
        return True

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Yield packets to the decoder."""
        while self._ahead or self._read_one():
            yield self._ahead.popleft()

    def _forget_before(self, zero: float) -> None:
        """Forget the frames before the one that is shown at ``zero``."""
        self._forgotten = zero
        first = max((pts for pts in self._ticks if pts * self._tick <= zero), default=-np.inf)
        self._ticks = {pts: length for pts, length in self._ticks.items() if pts >= first}

    def _decode(self, wanted: set[int], deadline: float) -> bool:
        """Decode until all wanted pictures are there; return whether they are."""
        if any(pts <= self._shown for pts in wanted - self._pictures.keys()):
            return False
        while not wanted <= self._pictures.keys():
            if time.monotonic() > deadline:
                raise late_error()
            frame = next(self._frames, None)
            if frame is None:
                return False
            if frame.pts is not None:
                self._shown = frame.pts
            if frame.pts in self._wanted:
                self._pictures[frame.pts] = self._reader.picture(frame, self._shape)
        return True


def _from(first: Packet[Stream], packets: Iterable[Packet[Stream]]) -> Iterator[Packet[Stream]]:
    """Yield the packets from ``first`` on, without the empty one at the end."""
    has_begun = False
    for packet in packets:
        has_begun = has_begun or (packet.pts, packet.dts) == (first.pts, first.dts)
        if has_begun and packet.size:
            yield packet
