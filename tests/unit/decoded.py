"""What the readers make of a clip: its frames' numbers and its seconds' tones."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from clips import number_in

from pipeline.media import audio, frames, probe, sampling, window

T = 4


@contextmanager
def window_of(path, start=0.0, segments=T) -> Iterator[window.Window]:
    with probe.open_media(path) as container:
        media = probe.describe(container, path)
        yield window.read_window(container, media, start, segments)


def frames_of(path, start=0.0, segments=T, per_segment=1, sampler=None, decoder="decord"):
    with window_of(path, start, segments) as opened:
        sampler = sampler or sampling.sample_center
        return frames.read_frames(opened, per_segment, sampler, lambda picture: picture, decoder)


def sound_of(path, start=0.0, segments=T, slicing="exact"):
    with window_of(path, start, segments) as opened:
        return audio.read_audio(opened, slicing)


def numbers(result: frames.Frames) -> list[int]:
    return [number_in(picture) for picture in result.pictures]


def tones(path, start=0.0, segments=T) -> list[float]:
    spectra = np.abs(np.fft.rfft(sound_of(path, start, segments).samples.reshape(segments, -1)))
    return [float(spectrum.argmax()) for spectrum in spectra]
