"""Reading of a window's packets: both streams of an open file, read once and decoded later."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.media.clock import Clock, starts_again
from pipeline.media.probe import Media, open_media
from pipeline.media.random_access import is_turning_point

# Margin to read before and after a window: index entries are in decoding order, a frame may be
# shown up to 16 frames (the reorder depth) after its position in it, and audio decoders need a
# run-in.
MARGIN_SECONDS = 2.0

# How far one stream usually runs ahead of another in a file: ffmpeg's muxers wait no longer for a
# silent stream (max_interleave_delta). One that lags further behind, and is complete according to
# its header, has ended.
INTERLEAVING_SECONDS = 10.0
# Largest error of a stream's duration in a header.
HEADER_SECONDS = 0.5
# Matroska has the duration of a stream in a tag, where its time begins at 0.
MATROSKA_DURATION = re.compile(r"(\d+):(\d+):([\d.]+)$")
# Formats in which a stream's last packet is known to be complete only at the end of the file.
OPEN_ENDED = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class Track:
    """One stream's packets around a window, in decoding order.

    Attributes
    ----------
    stream
        The stream of the open container; its codec decodes the packets.
    packets
        All packets in the file that the window's frames or samples depend on.
    from_start
        Whether the first of them is the stream's first.
    is_timed
        Whether packets have presentation times. AVI has none (libavformat makes them up); those
        of frames that are not reordered are their decoding times.
    """

    stream: Stream
    packets: list[Packet[Stream]]
    from_start: bool
    is_timed: bool = True


@dataclass(frozen=True)
class Window:
    """A window of an open file.

    Attributes
    ----------
    media
        The contents of the file.
    zero
        The window's start on the container's timeline, in seconds.
    segments
        T, of one second each.
    seconds
        Length of the window, at most T; later content is ignored.
    video, audio
        The tracks, or None if the file has no such stream.
    joins
        Where packet times start again in the file before the window's end (see ``clock``), in
        seconds from the window's start.
    """

    media: Media
    zero: float
    segments: int
    seconds: float
    video: Track | None
    audio: Track | None
    joins: tuple[float, ...] = ()


def read_window(
    container: InputContainer,
    media: Media,
    start: float,
    segments: int,
    seconds: float | None = None,
    with_video: bool = True,
) -> Window:
    """Read a window's packets without decoding them.

    A window at the start of the file is read in one pass for both streams. For a later one each
    stream is sought separately, because audio can start closer to it than the last key frame.

    Parameters
    ----------
    container
        The open file, nothing read yet.
    media
        Its contents.
    start
        The window's start on the shared clock, in seconds.
    segments
        T segments of one second.
    seconds
        Length of the window, if shorter than T.
    with_video
        Whether the video's packets are read.
    """
    seconds = min(segments, seconds or segments)
    indices = (media.video if with_video else None, media.audio.index if media.audio else None)
    used = [container.streams[index] for index in indices if index is not None]
    reader = _PacketReader(container, used, media.origin, start, seconds)
    if start <= MARGIN_SECONDS or not used:
        tracks, joins = reader.read_early()
    elif starts_again(media.path, [stream.index for stream in used]):
        tracks, joins = reader.read_through()
    else:
        tracks, joins = {stream.index: reader.seek(stream) for stream in used}, []
    video, audio = (None if index is None else tracks[index] for index in indices)
    zero = media.origin + start
    return Window(media, zero, segments, seconds, video, audio, tuple(j - zero for j in joins))


@contextmanager
def completed(window: Window) -> Iterator[Window]:
    """Give the window with its video track, read from the file if it was left out."""
    media = window.media
    if window.video or media.video is None:
        yield window
        return
    with open_media(media.path) as container:
        start = window.zero - media.origin
        yield read_window(container, media, start, window.segments, window.seconds)


class _PacketReader:
    """Reads the packets of one window from an open file."""

    def __init__(
        self,
        container: InputContainer,
        used: list[Stream],
        origin: float,
        start: float,
        seconds: float,
    ) -> None:
        self._container = container
        self._used = used
        self._origin = origin
        self._start = start
        self._zero = origin + start
        self._stop = self._zero + seconds + MARGIN_SECONDS
        self._has_made_up_times = container.format.name == "avi"
        # Computed once: a packet's own time base is slow to access.
        self._ticks = {stream.index: float(stream.time_base or 0) for stream in used}

    def read_early(self) -> tuple[dict[int, Track], list[float]]:
        """Return the tracks from the file's start by stream index, and where its clock restarts."""
        packets, joins = self._read(self._used)
        tracks = {
            s.index: Track(s, packets[s.index], from_start=True, is_timed=self._is_timed(s))
            for s in self._used
        }
        return tracks, joins

    def read_through(self) -> tuple[dict[int, Track], list[float]]:
        """Do the same, without the packets that the window does not depend on."""
        packets, joins = self._read(self._used)
        return {s.index: self._track(s, packets[s.index], is_whole=True) for s in self._used}, joins

    def seek(self, stream: Stream) -> Track:
        """Return a stream's packets from the last point before the window to start decoding at.

        A seek follows an index or, in transport streams, a guess, so it may land too late: seek
        earlier and earlier, and in the end read the file from its start.
        """
        margin = MARGIN_SECONDS
        while True:
            is_whole = margin >= self._start
            target = min(self._origin, 0.0) if is_whole else self._zero - margin
            is_whole |= not self._go_to(stream, target)
            packets = self._read([stream], target)[0][stream.index]
            if is_whole or self._first_index(stream, packets) is not None:
                return self._track(stream, packets, is_whole)
            margin *= 2

    def _go_to(self, stream: Stream, target: float) -> bool:
        """Go to a time in the file, or to its start if it refuses; return whether it did not."""
        try:
            self._container.seek(int(target / (self._ticks[stream.index] or 1)), stream=stream)
        except av.FFmpegError:  # FLV refuses times before the stream's first packet
            self._container.seek(0, unsupported_byte_offset=True)
            return False
        return True

    def _track(self, stream: Stream, packets: list[Packet[Stream]], is_whole: bool) -> Track:
        first = self._first_index(stream, packets) or 0
        is_start = is_whole and not first
        return Track(stream, packets[first:], is_start, self._is_timed(stream))

    def _is_timed(self, stream: Stream) -> bool:
        is_reordered = isinstance(stream, VideoStream) and stream.codec_context.has_b_frames
        return not (is_reordered and self._has_made_up_times)

    def _first_index(self, stream: Stream, packets: list[Packet[Stream]]) -> int | None:
        """Return the index of the packet that gives everything in the window, or None.

        For video it is the last such packet, so that as little as possible is decoded.
        """
        tick = self._ticks[stream.index]
        latest = self._zero if self._is_timed(stream) else self._zero - MARGIN_SECONDS
        early = [
            p
            for p, packet in enumerate(packets)
            if packet.pts is not None and packet.pts * tick <= latest
        ]
        if not isinstance(stream, VideoStream):
            return 0 if early else None
        return next((p for p in reversed(early) if is_turning_point(stream, packets[p])), None)

    def _read(
        self, wanted: list[Stream], target: float = -math.inf
    ) -> tuple[dict[int, list[Packet[Stream]]], list[float]]:
        """Return each wanted stream's packets from here to the window's end, and the clock's joins.

        The other used streams show how far the file has been read, so that reading stops early for
        a stream that has ended. ``target`` is the time that was sought.
        """
        packets: dict[int, list[Packet[Stream]]] = {stream.index: [] for stream in wanted}
        unfinished = {stream.index: stream for stream in wanted}
        is_open_ended = self._container.format.name in OPEN_ENDED
        patience = math.inf if is_open_ended else INTERLEAVING_SECONDS
        clock = Clock(self._container, self._used)
        if not wanted:
            return packets, []
        try:
            for packet in clock.rising(self._container.demux(self._used)):
                index = packet.stream_index
                time = packet.dts if packet.dts is not None else packet.pts
                beyond = -math.inf if time is None else time * self._ticks[index] - self._stop
                if beyond > 0:
                    unfinished.pop(index, None)
                    if not unfinished:
                        break
                    if beyond > patience and all(
                        _is_complete(stream, packets[stream.index], target)
                        for stream in unfinished.values()
                    ):
                        break
                elif packet.size and index in unfinished:
                    if self._has_made_up_times:
                        packet.pts = packet.dts
                    packets[index].append(packet)
        except av.FFmpegError:
            pass  # a truncated file gives what it has
        return packets, clock.joins


def _is_complete(stream: Stream, packets: list[Packet[Stream]], target: float) -> bool:
    """Return whether packets read from ``target`` on reach a stream's end in the header."""
    tick = float(stream.time_base or 0)
    if stream.duration is not None:
        end = ((stream.start_time or 0) + stream.duration) * tick
    elif match := MATROSKA_DURATION.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, match.groups())
        end = 3600 * hours + 60 * minutes + seconds
    else:
        return False
    ends = ((p.pts + (p.duration or 0)) * tick for p in packets[-32:] if p.pts is not None)
    return max(ends, default=target) >= end - HEADER_SECONDS
