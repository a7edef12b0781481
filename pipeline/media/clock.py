"""One rising clock for files whose packet times start again, as in recordings joined by ``cat``.

Every part of such a file has its own times. Each follows the part before it here, as in the ffmpeg
program, which does so for transport and program streams and Ogg; Matroska and FLV are treated
alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.media.probe import open_media

# Formats whose clock may start again at any point, with the shortest step back that means it. The
# ffmpeg program's 0.1 s holds where times are exact; the others may have disorder of their own.
STEPS_BACK = {"mpegts": 0.1, "mpeg": 0.1, "ogg": 0.1, "matroska,webm": 1.0, "flv": 1.0}
# In these a leap of all streams means it too (ffmpeg's `dts_delta_threshold`).
LEAPING = {"mpegts", "mpeg", "ogg"}
LEAP_SECONDS = 10.0
# Formats with an index: what follows its last entry tells whether another part does.
INDEXED = {"matroska,webm"}
# Largest error of a file's duration in its header.
LONGEST_OVERRUN_SECONDS = 1.0
# When one stream starts again, packets of another may still belong to the part before: they
# continue it within this time.
CONTINUES_SECONDS = 1.0
# How far the streams of a part may overlap those of the part before, as encoders' delays do.
OVERLAP_SECONDS = 0.1


@dataclass
class _Progress:
    """How far a stream has been read: its part, last decoding time in the file, and ends."""

    part: int = 0
    raw: float | None = None
    step: float = 0.0
    decoded_end: float = 0.0
    shown_end: float = -math.inf


class Clock:
    """Shifts the times of packets, in the order of the file, so that they rise.

    Attributes
    ----------
    joins
        Where each further part begins on the rising clock, in seconds.
    front
        The end of what has been read, on the rising clock.
    """

    def __init__(self, container: InputContainer, streams: Iterable[Stream]) -> None:
        name = container.format.name
        self.joins: list[float] = []
        self._back = STEPS_BACK.get(name)
        self._leap = LEAP_SECONDS if name in LEAPING else math.inf
        self._has_decoding_times = name in LEAPING  # libavformat derives the others'
        self._ticks = {stream.index: float(stream.time_base or 0) for stream in streams}
        self._progress = {index: _Progress() for index in self._ticks}
        self._offsets = [0.0]
        self.front = -math.inf

    def rising(self, packets: Iterable[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """Yield the packets with rising times."""
        if self._back is None:
            yield from packets
            return
        for packet in packets:
            if packet.dts is not None or packet.pts is not None:
                self._follow(packet)
            yield packet

    def _follow(self, packet: Packet[Stream]) -> None:
        progress, tick = self._progress[packet.stream_index], self._ticks[packet.stream_index]
        pts, dts = packet.pts, packet.dts
        if dts is not None:
            raw = dts * tick
            shown = raw if pts is None else pts * tick
            self._assign_part(progress, raw, shown)
            if shown - raw > self._leap:  # libavformat gave it the time of the next part
                shown = progress.shown_end - self._offsets[progress.part]
                packet.pts = pts = round(shown / tick)
            self._advance(progress, raw, shown, (packet.duration or 0) * tick)
        if offset := self._offsets[progress.part]:
            shift = round(offset / tick)
            packet.dts = None if dts is None else dts + shift
            packet.pts = None if pts is None else pts + shift

    def _assign_part(self, progress: _Progress, raw: float, shown: float) -> None:
        current = len(self._offsets) - 1
        if progress.raw is None:
            progress.part = current
            has_restarted = False
        elif progress.part < current:
            if not 0 <= raw - progress.raw <= CONTINUES_SECONDS:
                progress.part = current
            return
        else:
            has_restarted = raw - progress.raw < -(self._back or 0)
        leaps = raw + self._offsets[-1] - self.front > self._leap and bool(self._started())
        if has_restarted or leaps:
            self._begin_part(progress, raw, shown)

    def _started(self) -> list[_Progress]:
        return [progress for progress in self._progress.values() if progress.raw is not None]

    def _begin_part(self, progress: _Progress, raw: float, shown: float) -> None:
        """Begin a part where the stream continues, or after all streams if they last longer."""
        after_all = self.front - shown
        after_own = after_all if progress.raw is None else progress.decoded_end - raw
        is_close = self._has_decoding_times and after_all - after_own <= OVERLAP_SECONDS
        self._offsets.append(after_own if is_close else after_all)
        self.joins.append(self.front)
        progress.part = len(self._offsets) - 1

    def _advance(self, progress: _Progress, raw: float, shown: float, duration: float) -> None:
        if progress.raw is not None and raw > progress.raw:
            progress.step = raw - progress.raw
        progress.raw = raw
        offset, length = self._offsets[progress.part], duration or progress.step
        progress.decoded_end = raw + offset + length
        progress.shown_end = max(progress.shown_end, shown + offset + length)
        self.front = max(self.front, progress.shown_end)


def starts_again(path: Path, indices: Sequence[int]) -> bool:
    """Return whether the clock of a file's streams starts again; read the file where it may.

    Such a file cannot be sought in by time, nor one with another part after the end in its header.
    """
    status = path.stat()
    return _starts_again(path, tuple(indices), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _starts_again(path: Path, indices: tuple[int, ...], size: int, modified: int) -> bool:
    with open_media(path) as container:
        if container.format.name not in STEPS_BACK:
            return False
        streams = [container.streams[index] for index in indices]
        clock = Clock(container, streams)
        end = math.inf
        with suppress(av.FFmpegError):  # a truncated file has the packets before its end
            if container.format.name in INDEXED and container.duration:
                end = (container.start_time + container.duration) / av.time_base
                container.seek(container.duration)
            for _ in clock.rising(container.demux(streams)):
                if clock.joins or clock.front > end + LONGEST_OVERRUN_SECONDS:
                    return True
    return False
