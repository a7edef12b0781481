"""The packets of a window: both streams of an open file, read once and decoded later."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.media.probe import Media

# How much earlier than a window to begin, and how much later to end: index entries are in decoding
# order, a frame is shown up to the reorder depth (16 frames) after its place in it, and a sound
# decoder has to run in.
MARGIN_SECONDS = 2.0


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
        T; the window is T seconds.
    video, audio
        The tracks that the file has, else None.
    """

    media: Media
    zero: float
    segments: int
    video: Track | None
    audio: Track | None


def read_window(container: InputContainer, media: Media, start: float, segments: int) -> Window:
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
    """
    zero = media.origin + start
    stop = zero + segments + MARGIN_SECONDS
    indices = (media.video, media.audio.index if media.audio else None)
    streams = {index: container.streams[index] for index in indices if index is not None}
    if zero <= MARGIN_SECONDS:
        packets = _read(container, list(streams.values()), stop)
        tracks = {index: Track(streams[index], packets[index], True) for index in streams}
    else:
        tracks = {index: _sought(container, streams[index], zero, stop) for index in streams}
    video, audio = (None if index is None else tracks[index] for index in indices)
    return Window(media, zero, segments, video, audio)


def _sought(container: InputContainer, stream: Stream, zero: float, stop: float) -> Track:
    tick = float(stream.time_base or 1)
    target = int((zero - MARGIN_SECONDS) / tick)
    packets = _read(container, [stream], stop, target)[stream.index]
    times = [packet.pts for packet in packets if packet.pts is not None]
    if times and min(times) * tick <= zero:
        return Track(stream, packets, from_start=False)
    # The index is wrong: read from the file's start.
    return Track(stream, _read(container, [stream], stop, 0)[stream.index], from_start=True)


def _read(
    container: InputContainer, streams: list[Stream], stop: float, target: int | None = None
) -> dict[int, list[Packet[Stream]]]:
    """Return each stream's packets, by its index, from a tick of the first stream's to ``stop``."""
    packets: dict[int, list[Packet[Stream]]] = {stream.index: [] for stream in streams}
    ticks = {stream.index: float(stream.time_base or 0) for stream in streams}
    unfinished = set(packets)
    try:
        if target is not None:
            container.seek(target, stream=streams[0])
        for packet in container.demux(streams):
            index = packet.stream_index
            if packet.dts is not None and packet.dts * ticks[index] > stop:
                unfinished.discard(index)
                if not unfinished:
                    break
            elif packet.size and index in unfinished:
                packets[index].append(packet)
    except av.FFmpegError:
        pass  # a file cut in the middle gives what it has
    return packets
