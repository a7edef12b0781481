"""Synthesised clips: frame k shows the number k as black and white bars, second t sounds tone t."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 12
BAR = 16
WIDTH, HEIGHT = BITS * BAR, 96
CLOCK = 90_000


def picture_of(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Draw a number: bar b is white when bit b is set; the top quarter is grey."""
    bars = np.repeat([(number >> bit) & 1 for bit in range(BITS)], BAR) * 255
    picture = np.repeat(bars[None, :, None], HEIGHT, axis=0).repeat(3, axis=2).astype(np.uint8)
    picture[: HEIGHT // 4] = 128
    rows = np.arange(height) * HEIGHT // height
    columns = np.arange(width) * WIDTH // width
    return picture[rows][:, columns]


def number_in(picture: NDArray[np.uint8]) -> int:
    """Read the number off a frame of any size that still has the whole width."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bars = picture[height // 2 : height * 3 // 4, centres].mean(axis=(0, 2)) > 128
    return int(sum(1 << bit for bit in np.flatnonzero(bars)))


def tone(second: int) -> float:
    """Return the tone of a second, in Hz."""
    return 300.0 + 130.0 * second


def sound(seconds: float, rate: int) -> NDArray[np.float32]:
    """Return samples in [-0.5, 0.5]: tone t in second t."""
    times = np.arange(round(seconds * rate)) / rate
    frequencies = 300.0 + 130.0 * np.floor(times)
    return (0.5 * np.sin(2 * np.pi * frequencies * times)).astype(np.float32)


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1 gives root's thread when it encodes.

    All that a test starts afterwards would inherit it, and starve everything else of the machine.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@ordinary_priority()
def write_clip(
    path: Path,
    *,
    seconds: float = 10.0,
    fps: float = 30.0,
    times: Sequence[float] | None = None,
    clock: int = CLOCK,
    video_start: float = 0.0,
    video_codec: str | None = "libx264",
    video_options: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixel_format: str = "yuv420p",
    audio_start: float = 0.0,
    audio_codec: str | None = "aac",
    audio: NDArray[np.float32] | None = None,
    rate: int = 44_100,
    layout: str = "stereo",
    container_format: str | None = None,
    grain: np.random.Generator | None = None,
) -> Path:
    """Write a clip; streams are left out where their codec is None.

    ``grain`` makes frames noisy, so that each depends on those it refers to;
    ``times`` (when each frame is shown) overrides ``fps``; ``audio`` is ``[channels, S]``.
    """
    with av.open(str(path), "w", format=container_format) as container:
        packets = []
        if video_codec:
            shown = np.arange(round(seconds * fps)) / fps if times is None else times
            stream = container.add_stream(video_codec, rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height = size
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = Fraction(1, clock)
            stream.time_base = Fraction(1, clock)
            stream.codec_context.thread_count = 1
            stream.options = (
                {"crf": "18", "preset": "ultrafast"} if video_options is None else video_options
            )
        if audio_codec:
            samples = sound(seconds, rate)[None] if audio is None else audio
            track = container.add_stream(audio_codec, rate=rate, layout=layout)
        if video_codec:
            packets += _pictures(stream, shown, video_start, clock, size, pixel_format, grain)
        if audio_codec:
            packets += _samples(track, samples, audio_start, rate, layout)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)
    return path


def _pictures(
    stream, shown: Iterable[float], start: float, clock: int, size, pixel_format: str, grain
) -> list:
    packets = []
    for number, second in enumerate(shown):
        picture = picture_of(number, *size)
        if grain is not None:
            picture ^= grain.integers(0, 32, picture.shape, dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(format=pixel_format)
        frame.pts, frame.time_base = round((start + second) * clock), Fraction(1, clock)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _samples(track, samples: NDArray[np.float32], start: float, rate: int, layout: str) -> list:
    channels = av.AudioLayout(layout).nb_channels
    if len(samples) != channels:
        samples = np.repeat(samples[:1], channels, axis=0)
    packets = []
    resampler = av.AudioResampler(format=track.codec_context.format, layout=layout, rate=rate)
    step = track.codec_context.frame_size or 1024
    for first in range(0, samples.shape[1], step):
        block = np.ascontiguousarray(samples[:, first : first + step])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate) + first
        for converted in resampler.resample(frame):
            packets += track.encode(converted)
    return packets + track.encode(None)
