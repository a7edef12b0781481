"""The sound of a window: 48 kHz, mono, on the frames' clock."""

import functools
from dataclasses import dataclass
from typing import Any

import av
import ffmpeg
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream as PyavStream
from numpy.typing import NDArray

from pipeline.core.errors import ItemError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.media import FULL_SCALE, SAMPLE_RATE
from pipeline.media.probe import FORMATS, PROTOCOLS, AudioStream
from pipeline.media.window import MARGIN_SECONDS, Track, Window

# Times may jitter in their container; a lost AAC frame (21 ms) is a gap to be filled with silence.
GAP_SECONDS = 0.02

Waveform = NDArray[np.float32]

# What the samples of ffmpeg's formats are in memory, as far as numpy gets them from PyAV.
PLANE_TYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": float}


@dataclass(frozen=True)
class Sound:
    """The sound of a window.

    Attributes
    ----------
    samples
        ``[T * 48000]`` int16, truncated ``clip(x, -1, 1) * 32767``; silence where the stream has
        not begun, has holes, or is over.
    end
        When the stream's sound ends, in seconds from the window's start; T at most, 0 when it
        has none in the window.
    damaged
        Packets that could not be decoded and blocks that the decoder had to mend, as far as
        decoding went.
    """

    samples: NDArray[np.int16]
    end: float
    damaged: int


def read_audio(window: Window, slicing: str = "exact") -> Sound:
    """Decode a window's sound.

    The channels are averaged as floats before resampling, 0.5 L + 0.5 R, as librosa does, which
    VALOR used; libraries' other common gain, 0.707, moves CLAP embeddings as much as two segments
    of a clip differ. Resampling is soxr's HQ, librosa's default.

    Parameters
    ----------
    window
        T segments of a file with sound.
    slicing
        ``exact``: second t of the window is segment t. ``valor``: see ``valor_slices``.

    Raises
    ------
    ItemError
        ``no_audio_stream``, ``decode_error``, ``not_finite``.
    """
    audio, track = window.media.audio, window.audio
    if audio is None or track is None:
        raise ItemError(Status.NO_AUDIO_STREAM, "the file has no sound")
    line = _Line(audio.rate, window.seconds)
    damaged = _decode(track, window.zero, line)
    heard = line.heard if damaged is not None else _decode_with_program(window, audio)
    if not np.isfinite(heard).all():
        raise ItemError(Status.NOT_FINITE, "its sound has values that are not numbers")
    is_native = audio.rate == SAMPLE_RATE
    waveform = heard if is_native else soxr.resample(heard, audio.rate, SAMPLE_RATE, "HQ")
    quantised = (np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    samples = SLICINGS[slicing](quantised, window.segments)
    return Sound(samples, len(heard) / audio.rate, damaged or 0)


def exact_slices(samples: NDArray[np.int16], segments: int) -> NDArray[np.int16]:
    """Return ``[T * 48000]`` samples, those that there are and silence after them."""
    filled = np.zeros(segments * SAMPLE_RATE, dtype=np.int16)
    filled[: len(samples)] = samples[: len(filled)]
    return filled


def valor_slices(samples: NDArray[np.int16], segments: int) -> NDArray[np.int16]:
    """Stretch L samples over the segments as VALOR does for CLAP (methods.md 6.2).

    Segment t has the ``L // T`` samples from ``round(t * L / T)`` on, so sound that ends before its
    window is cut into shorter segments, and nothing is silent; each is repeated to a second. CLAP
    repeats what it is given to ten seconds by itself. differs: VALOR cuts the whole file's L; here
    it is the window's, as everywhere, so the two slicings are the same where it has T seconds.

    Parameters
    ----------
    samples
        ``[L]``, from the window's start to the end of the sound.
    segments
        T.

    Returns
    -------
    sliced
        ``[T * 48000]``.
    """
    samples = samples[: segments * SAMPLE_RATE]
    length = len(samples) // segments
    if not length:
        return exact_slices(samples, segments)
    begins = np.round(np.linspace(0, len(samples), segments + 1))[:-1].astype(np.int64)
    return np.concatenate([np.resize(samples[b : b + length], SAMPLE_RATE) for b in begins])


SLICINGS = {"exact": exact_slices, "valor": valor_slices}


class _Line:
    """A window's mono samples in the making, each block put where its time says."""

    def __init__(self, rate: int, seconds: float) -> None:
        self.rate = rate
        self._samples = np.zeros(round(seconds * rate), dtype=np.float32)
        self._next: int | None = None

    @property
    def is_full(self) -> bool:
        return self._next is not None and self._next >= len(self._samples)

    @property
    def heard(self) -> Waveform:
        """The samples up to the last block's end."""
        return self._samples[: max(self._next or 0, 0)]

    def add(self, block: Waveform, seconds: float) -> None:
        """Put a block at ``seconds`` from the window's start.

        A block follows the last one without a seam unless its time differs by more than a jitter:
        then silence fills the hole, or what was already heard is left out.
        """
        place = round(seconds * self.rate)
        if self._next is None or place - self._next > GAP_SECONDS * self.rate:
            self._next = place
        elif self._next - place > GAP_SECONDS * self.rate:
            block = block[self._next - place :]
        inside = block[max(-self._next, 0) :]
        first = max(self._next, 0)
        room = self._samples[first : first + len(inside)]
        room[:] = inside[: len(room)]
        self._next += len(block)


def _decode(track: Track, zero: float, line: _Line) -> int | None:
    """Put a track's sound on the line, and return how many packets are damaged.

    None where a block has no time, another rate than the header says, or samples of a format that
    is not known here.

    Raises
    ------
    ItemError
        ``decode_error``: the stream has packets, and not one can be decoded.
    """
    if not isinstance(track.stream, PyavStream) or track.stream.time_base is None:
        raise ItemError(Status.NO_AUDIO_STREAM, "the file has no sound")
    context, tick = track.stream.codec_context, float(track.stream.time_base)
    context.thread_count = 1
    damaged = decoded = 0
    for packet in [*track.packets, None]:
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            damaged += 1
            continue
        decoded += len(frames)
        for frame in frames:
            is_known = frame.format.packed.name in PLANE_TYPES
            if frame.pts is None or frame.sample_rate != line.rate or not is_known:
                return None
            damaged += frame.is_corrupt
            line.add(_mono(frame), frame.pts * tick - zero)
        if line.is_full:
            break
    if damaged and not decoded:
        raise ItemError(Status.DECODE_ERROR, "not one packet of its sound can be decoded")
    return damaged


def _mono(frame: AudioFrame) -> Waveform:
    """Return the mean of a block's channels as floats in [-1, 1]."""
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        interleaved = _floats(frame.to_ndarray().reshape(-1, channels))
        mono: Waveform = interleaved.mean(axis=1, dtype=np.float32)
        return mono
    # Of eight channels or more PyAV's `planes`, and with it `to_ndarray`, goes on past the last.
    kind = PLANE_TYPES[frame.format.packed.name]
    views = [memoryview(plane) for plane in frame.planes[:channels]]
    planes = [_floats(np.frombuffer(view, kind, frame.samples)) for view in views]
    total: Waveform = functools.reduce(np.add, planes)
    return total / np.float32(channels)


def _floats(samples: NDArray[Any]) -> Waveform:
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128 << 8
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.itemsize - 1))
    return samples.astype(np.float32, copy=False)


def _decode_with_program(window: Window, audio: AudioStream) -> Waveform:
    """Do what ``_decode`` does with ffmpeg's program, which converts rates and makes up times.

    aresample with ``first_pts`` drops what comes before that sample and puts silence where the
    stream begins later; with ``async`` it fills holes in the stream's times.
    """
    zero, seconds = window.zero, window.seconds
    seek: dict[str, object] = {}
    if zero > MARGIN_SECONDS:
        seek = {"ss": zero - MARGIN_SECONDS, "seek_timestamp": 1, "noaccurate_seek": None}
    align = (
        f"aresample={audio.rate}:async=1:min_comp=0.000001:min_hard_comp={GAP_SECONDS}"
        f":first_pts={round(zero * audio.rate)},atrim=end={zero + seconds + 1:.6f}"
    )
    source = ffmpeg.input(
        str(window.media.path),
        protocol_whitelist=PROTOCOLS,
        format_whitelist=FORMATS,
        threads=1,
        copyts=None,
        **seek,
    )
    output = source[str(audio.index)].output(
        "pipe:", format="f32le", af=align, ar=audio.rate, ac=audio.channels
    )
    try:
        raw, _ = output.global_args("-nostdin", "-v", "error").run(
            cmd=ffmpeg_path(), capture_stdout=True, capture_stderr=True
        )
    except ffmpeg.Error as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ItemError(
            Status.DECODE_ERROR, f"ffmpeg cannot decode the sound: {lines[-1]}"
        ) from None
    samples = np.frombuffer(raw, dtype="<f4").reshape(-1, audio.channels)
    heard: Waveform = samples[: round(seconds * audio.rate)].mean(axis=1, dtype=np.float32)
    return heard
