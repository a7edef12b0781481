"""Reading of a window's packets: both streams of an open file, read once and decoded later."""

from __future__ import annotations

import math
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.media.probe import Media
from pipeline.media.random_access import is_turning_point

# Margin to read before and after a window: index entries are in decoding order, a frame may be
# shown up to 16 frames (the reorder depth) after its position in it, and audio decoders need a
# run-in.
MARGIN_SECONDS = 2.0

# How far one stream may run ahead of another in a file: ffmpeg's muxers wait no longer for a
# silent stream (max_interleave_delta). A stream that lags further behind has ended.
INTERLEAVING_SECONDS = 10.0
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
    """

    stream: Stream
    packets: list[Packet[Stream]]
    from_start: bool


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
    """

    media: Media
    zero: float
    segments: int
    seconds: float
    video: Track | None
    audio: Track | None


def read_window(
    container: InputContainer,
    media: Media,
    start: float,
    segments: int,
    seconds: float | None = None,
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
    """
    seconds = min(segments, seconds or segments)
    zero = media.origin + start
    stop = zero + seconds + MARGIN_SECONDS
    indices = (media.video, media.audio.index if media.audio else None)
    streams = {index: container.streams[index] for index in indices if index is not None}
    used = list(streams.values())
    if start <= MARGIN_SECONDS:
        packets = _read(container, used, used, stop)
        tracks = {index: Track(streams[index], packets[index], True) for index in streams}
    else:
        tracks = {i: _seek_track(container, used, streams[i], zero, start, stop) for i in streams}
    video, audio = (None if index is None else tracks[index] for index in indices)
    return Window(media, zero, segments, seconds, video, audio)


def _seek_track(
    container: InputContainer,
    used: list[Stream],
    stream: Stream,
    zero: float,
    start: float,
    stop: float,
) -> Track:
    """Return a stream's packets from the last point at or before ``zero`` where decoding can start.

    A seek follows an index or, in transport streams, a guess, so it may land too late: seek earlier
    and earlier, and in the end read the file from its start.
    """
    margin = MARGIN_SECONDS
    while True:
        is_whole = margin >= start
        target = 0.0 if is_whole else zero - margin
        packets = _read(container, [stream], used, stop, target)[stream.index]
        first = _first_index(stream, packets, zero)
        if first is not None or is_whole:
            return Track(stream, packets[first or 0 :], from_start=is_whole and not first)
        margin *= 2


def _first_index(stream: Stream, packets: list[Packet[Stream]], zero: float) -> int | None:
    """Return the index of the packet that gives everything from ``zero`` on, or None.

    For video it is the last such packet, so that as little as possible is decoded.
    """
    tick = float(stream.time_base or 0)
    early = [
        p
        for p, packet in enumerate(packets)
        if packet.pts is not None and packet.pts * tick <= zero
    ]
    if not isinstance(stream, VideoStream):
        return 0 if early else None
    return next((p for p in reversed(early) if is_turning_point(stream, packets[p])), None)


def _read(
    container: InputContainer,
    wanted: list[Stream],
    used: list[Stream],
    stop: float,
    target: float | None = None,
) -> dict[int, list[Packet[Stream]]]:
    """Return each wanted stream's packets from around ``target`` to ``stop``, by stream index.

    The other used streams show how far the file has been read, so that reading stops early for a
    stream that has ended.
    """
    packets: dict[int, list[Packet[Stream]]] = {stream.index: [] for stream in wanted}
    # Computed once: a packet's own time base is slow to access.
    ticks = {stream.index: float(stream.time_base or 0) for stream in used}
    unfinished = set(packets)
    patience = math.inf if container.format.name in OPEN_ENDED else INTERLEAVING_SECONDS
    try:
        if target is not None:
            container.seek(int(target / (ticks[wanted[0].index] or 1)), stream=wanted[0])
        for packet in container.demux(used):
            index = packet.stream_index
            time = packet.dts if packet.dts is not None else packet.pts
            beyond = -math.inf if time is None else time * ticks[index] - stop
            if beyond > 0:
                unfinished.discard(index)
                if not unfinished or beyond > patience:
                    break
            elif packet.size and index in unfinished:
                packets[index].append(packet)
    except av.FFmpegError:
        pass  # a truncated file gives what it has
    return packets
