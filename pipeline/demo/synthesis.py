"""Building blocks of the sounds; each is one second of floats, roughly in [-1, 1]."""

# Products of arrays are Any to mypy.
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 32_000  # samples per second; CLAP's mel scale ends at 14 kHz
TIME = np.arange(RATE) / RATE

Wave = NDArray[Any]


def harmonics(pitch: float | Wave, levels: Sequence[float]) -> Wave:
    """Return a tone with overtones; ``levels[k]`` is the amplitude of harmonic k + 1.

    ``pitch`` is in hertz, constant or one value per sample.
    """
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(np.asarray(pitch) / RATE, RATE))
    # sin((k+1)x) = 2 cos(x) sin(kx) - sin((k-1)x): needs one sine for all overtones.
    twice_cosine, before, tone = 2 * np.cos(phase), np.zeros(RATE), np.sin(phase)
    wave = levels[0] * tone
    for level in levels[1:]:
        before, tone = tone, twice_cosine * tone - before
        wave += level * tone
    return wave / sum(levels)


def bright(count: int, slope: float) -> list[float]:
    """Return the levels of ``count`` harmonics, decreasing as ``1 / k**slope``."""
    return [(k + 1) ** -slope for k in range(count)]


def noise(random: np.random.Generator, low: float, high: float) -> Wave:
    """Return noise between two frequencies in hertz, with a standard deviation of 1/3."""
    spectrum = np.fft.rfft(random.standard_normal(RATE))
    frequencies = np.fft.rfftfreq(RATE, 1 / RATE)
    # Soft edges a quarter of an octave wide, because sharp cut-offs ring.
    spectrum *= np.clip((frequencies / low - 0.84) / 0.16, 0, 1)
    spectrum *= np.clip((1.19 - frequencies / high) / 0.19, 0, 1)
    wave: Wave = np.fft.irfft(spectrum, RATE)
    return wave / (3 * wave.std())


def glide(start: float, end: float) -> Wave:
    """Return a pitch that glides exponentially from ``start`` to ``end``."""
    return start * (end / start) ** TIME


def vibrato(pitch: float, depth: float, speed: float = 5.5) -> Wave:
    """Return a pitch that oscillates by the fraction ``depth``, ``speed`` times per second."""
    return pitch * (1 + depth * np.sin(2 * np.pi * speed * TIME))


def swell(speed: float, phase: float = 0.0, depth: float = 1.0) -> Wave:
    """Return a loudness that rises and falls ``speed`` times per second."""
    return 1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * (speed * TIME + phase)))


def decays(times: Sequence[float], half_life: float) -> Wave:
    """Return a loudness that jumps to 1 at ``times`` (seconds) and halves every ``half_life``."""
    loudness = np.zeros(RATE)
    for time in times:
        since = TIME - time
        loudness = np.maximum(loudness, np.where(since >= 0, 2.0 ** (-since / half_life), 0))
    return loudness


def beats(random: np.random.Generator, speed: float, jitter: float = 0.15) -> list[float]:
    """Return about ``speed`` times within one second, jittered by the fraction ``jitter``."""
    count = max(1, round(speed))
    offset = random.uniform(0, 0.6)
    moved = (np.arange(count) + offset + random.uniform(-jitter, jitter, count)) / count
    return [float(time) for time in np.clip(moved, 0, 0.97)]


def notes(
    random: np.random.Generator, times: Sequence[float], pitches: Sequence[float]
) -> tuple[Wave, list[float]]:
    """Return a pitch that changes to a random one of ``pitches`` at each time, and the times."""
    pitch = np.full(RATE, float(random.choice(pitches)))
    for time in times:
        pitch[int(time * RATE) :] = random.choice(pitches)
    return pitch, list(times)
