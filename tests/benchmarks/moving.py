"""Clips that cost what real ones cost to decode: a texture that moves, with noise, and sound."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FPS, RATE = 30, 44_100
X264 = {"preset": "medium", "crf": "23", "threads": "1"}


@dataclass(frozen=True)
class Kind:
    """A clip's container, codecs, size and the encoder's options."""

    name: str
    size: tuple[int, int]
    codec: str = "libx264"
    audio_codec: str = "aac"
    options: tuple[tuple[str, str], ...] = tuple(X264.items())


KINDS = (
    Kind("h264-320x240.mp4", (320, 240)),
    Kind("h264-640x360.mp4", (640, 360)),
    Kind("h264-640x360-gop30.mp4", (640, 360), options=(*X264.items(), ("g", "30"))),
    Kind("h264-1280x720.mp4", (1280, 720)),
    Kind(
        "vp9-640x360.webm", (640, 360), "libvpx-vp9", "libopus",
        (("deadline", "realtime"), ("cpu-used", "7"), ("g", "128")),
    ),
    Kind(
        "hevc-640x360.mkv", (640, 360), "libx265", "aac",
        (("preset", "veryfast"), ("x265-params", "log-level=none:pools=1")),
    ),
    Kind("mpeg4-640x360.avi", (640, 360), "mpeg4", "mp2", (("qscale", "5"),)),
)  # fmt: skip


def render(kind: Kind, folder: Path, seconds: int = 10) -> Path:
    """Write a clip of a kind, and return its path."""
    path = folder / kind.name
    rate = 48_000 if kind.audio_codec == "libopus" else RATE
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=FPS, options=dict(kind.options))
        stream.width, stream.height = kind.size
        stream.pix_fmt = "yuv420p"
        track = container.add_stream(kind.audio_codec, rate=rate, layout="stereo")
        for picture in _pictures(kind.size, seconds * FPS):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        noise = 0.1 * np.random.default_rng(1).standard_normal((2, seconds * rate))
        resampler = av.AudioResampler(track.format, "stereo", rate, track.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(noise.astype(np.float32), "fltp", "stereo")
        frame.sample_rate = rate
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(block))
        container.mux(track.encode(None))
    return path


def _pictures(size: tuple[int, int], count: int):
    width, height = size
    random = np.random.default_rng(0)
    scene = _scene(random, width, height)
    for number in range(count):
        if number % 120 == 119:
            scene = _scene(random, width, height)
        left, top = 2 * number % width, number % height
        picture = scene[top : top + height, left : left + width]
        grain = random.integers(-4, 5, (height, width, 1), dtype=np.int16)
        yield np.clip(picture + grain, 0, 255).astype(np.uint8)


def _scene(random: np.random.Generator, width: int, height: int) -> NDArray[np.int16]:
    """Return a picture twice as wide and high, rough at several scales."""
    scene = np.full((2 * height, 2 * width, 3), 128.0)
    for step in (64, 16, 4):
        coarse = random.uniform(-40, 40, (2 * height // step + 1, 2 * width // step + 1, 3))
        scene += coarse.repeat(step, 0).repeat(step, 1)[: 2 * height, : 2 * width]
    return np.clip(scene, 0, 255).astype(np.int16)
