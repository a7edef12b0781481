"""The packets of a window: both streams of an open file, read once and decoded later."""

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

# How much earlier than a window to begin, and how much later to end: index entries are in decoding
# order, a frame is shown up to the reorder depth (16 frames) after its place in it, and a sound
# decoder has to run in.
MARGIN_SECONDS = 2.0

# How far one stream may run ahead of another in a file: ffmpeg's muxers wait no longer for one that
# says nothing (max_interleave_delta). One that is further behind has ended.
INTERLEAVING_SECONDS = 10.0
# Formats of which a stream's last packet is known to be whole only when the file ends.
OPEN_ENDED = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class Track:
    """One stream's packets around a window, in decoding order.

    Attributes
    ----------
    stream
        The stream of the open container, whose codec decodes the packets.
    packets
        Those that what is shown or heard in the window depends on, as far as the file has them.
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
        What is in the file.
    zero
        The window's start on the container's timeline, in seconds.
    segments
        T, of one second each.
    seconds
        How long the window is, T at most: what the file has after that is not there.
    video, audio
        The tracks that the file has, else None.
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
    """Read a window's packets; nothing is decoded.

    One pass over the file gives both streams where the window lies at its start. For a later one
    each stream is sought by itself, as sound can begin nearer to it than the last key frame.

    Parameters
    ----------
    container
        The open file, of which nothing has been read.
    media
        What is in it.
    start
        The window's start on the clock, in seconds.
    segments
        T segments of one second.
    seconds
        How long the window is, if it is shorter than T.
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
        tracks = {i: _sought(container, used, streams[i], zero, start, stop) for i in streams}
    video, audio = (None if index is None else tracks[index] for index in indices)
    return Window(media, zero, segments, seconds, video, audio)


def _sought(
    container: InputContainer,
    used: list[Stream],
    stream: Stream,
    zero: float,
    start: float,
    stop: float,
) -> Track:
    """Return a stream's packets from where a decoder can begin, at ``zero`` or before it.

    A seek lands where an index or, in transport streams, a guess says, which need be no such
    place: then it is tried ever earlier, and in the end the file is read from its start.
    """
    margin = MARGIN_SECONDS
    while True:
        is_whole = margin >= start
        target = 0.0 if is_whole else zero - margin
        packets = _read(container, [stream], used, stop, target)[stream.index]
        place = _place_to_begin(stream, packets, zero)
        if place is not None or is_whole:
            return Track(stream, packets[place or 0 :], from_start=is_whole and not place)
        margin *= 2


def _place_to_begin(stream: Stream, packets: list[Packet[Stream]], zero: float) -> int | None:
    """Return the place from which packets give all from ``zero`` on, or None.

    For pictures it is the last such place: what comes before it need not be decoded.
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
    """Return each wanted stream's packets, by its index, from around a time to ``stop``.

    The other streams in use tell how far the file has been read, so that it is not read to its end
    for a stream that has ended.
    """
    packets: dict[int, list[Packet[Stream]]] = {stream.index: [] for stream in wanted}
    ticks = {stream.index: float(stream.time_base or 0) for stream in used}  # a packet's are slow
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
        pass  # a file cut in the middle gives what it has
    return packets
