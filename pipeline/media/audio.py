"""Decoding of a window's audio: 48 kHz mono, on the clock of the frames."""

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

# Tolerated jitter of block times; a lost AAC frame (21 ms) is longer and is filled with silence.
GAP_SECONDS = 0.02

Waveform = NDArray[np.float32]

# numpy types of ffmpeg's sample formats, as far as PyAV exposes them.
PLANE_TYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": float}


@dataclass(frozen=True)
class Sound:
    """The audio of a window.

    Attributes
    ----------
    samples
        ``[T * 48000]`` int16, truncated ``clip(x, -1, 1) * 32767``; silence before the stream
        starts, in its gaps and after its end.
    first, end
        When the audio starts and ends, in seconds from the window's start; the end is at most T, 0
        without any audio in the window.
    damaged
        Number of packets that could not be decoded and of blocks that the decoder concealed, up to
        the point where decoding stopped.
    clipped
        Share of the file's samples that were beyond full scale; only floats can be.
    """

    samples: NDArray[np.int16]
    first: float
    end: float
    damaged: int
    clipped: float = 0.0


def read_audio(window: Window, slicing: str = "exact") -> Sound:
    """Decode a window's audio.

    Channels are averaged as floats before resampling (0.5 L + 0.5 R), as in librosa, which VALOR
    used. The other common gain, 0.707, moves CLAP embeddings as far as two segments of a clip
    differ. Resampling is soxr HQ, librosa's default.

    Parameters
    ----------
    window
        T segments of a file with an audio stream.
    slicing
        ``exact``: second t of the window is segment t. ``valor``: see ``valor_slices``.

    Raises
    ------
    ItemError
        ``no_audio_stream``, ``decode_error``, ``not_finite``.
    """
    audio, track = window.media.audio, window.audio
    if audio is None or track is None:
        raise ItemError(Status.NO_AUDIO_STREAM, "the file has no audio stream")
    buffer = _WindowBuffer(audio.rate, window.seconds)
    damaged = _decode(track, window.zero, buffer)
    if damaged is None and window.joins:
        raise ItemError(
            Status.DECODE_ERROR,
            "the audio changes its sample rate or lacks times where packet times start again",
        )
    decoded = buffer.decoded if damaged is not None else _decode_with_ffmpeg(window, audio)
    if not np.isfinite(decoded).all():
        raise ItemError(Status.NOT_FINITE, "the audio has values that are not finite")
    is_native = audio.rate == SAMPLE_RATE
    waveform = decoded if is_native else soxr.resample(decoded, audio.rate, SAMPLE_RATE, "HQ")
    clipped = float(np.mean(np.abs(decoded) > 1.0)) if len(decoded) else 0.0
    quantised = (np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    samples = SLICINGS[slicing](quantised, window.segments)
    end = len(decoded) / audio.rate
    return Sound(samples, buffer.first, end, damaged or 0, clipped)


def exact_slices(samples: NDArray[np.int16], segments: int) -> NDArray[np.int16]:
    """Return ``[T * 48000]`` samples, cut or padded with silence."""
    filled = np.zeros(segments * SAMPLE_RATE, dtype=np.int16)
    filled[: len(samples)] = samples[: len(filled)]
    return filled


def valor_slices(samples: NDArray[np.int16], segments: int) -> NDArray[np.int16]:
    """Stretch L samples over the T segments, as VALOR does for CLAP.

    Segment t has the ``L // T`` samples from ``round(t * L / T)`` on. Audio that ends before its
    window is thus cut into shorter segments instead of being padded with silence, and each segment
    is repeated to fill a second (CLAP itself repeats its input to ten seconds). Unlike VALOR, which
    takes L from the whole file, L is that of the window; a window with T seconds of audio gives
    the same samples as `exact_slices`.
    Source: VALOR (Lai et al., NeurIPS 2023), released extraction code.

    Parameters
    ----------
    samples
        ``[L]``, from the window's start to the end of the audio.
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


class _WindowBuffer:
    """The mono samples of a window, filled block by block according to their times."""

    def __init__(self, rate: int, seconds: float) -> None:
        self.rate = rate
        self._samples = np.zeros(round(seconds * rate), dtype=np.float32)
        self._next: int | None = None
        self._end = 0
        self.first = 0.0

    @property
    def is_full(self) -> bool:
        return self._next is not None and self._next >= len(self._samples)

    @property
    def decoded(self) -> Waveform:
        """The samples up to the end of the last block that begins in the window."""
        return self._samples[: self._end]

    def add(self, block: Waveform, seconds: float) -> None:
        """Add a block that starts ``seconds`` after the window's start.

        Blocks are joined seamlessly unless their times differ by more than jitter: then gaps are
        filled with silence and overlaps are dropped.
        """
        index = round(seconds * self.rate)
        if self._next is None or index - self._next > GAP_SECONDS * self.rate:
            self._next = index
        elif self._next - index > GAP_SECONDS * self.rate:
            block = block[self._next - index :]
        inside = block[max(-self._next, 0) :]
        first = max(self._next, 0)
        room = self._samples[first : first + len(inside)]
        room[:] = inside[: len(room)]
        if len(room):
            self.first = self.first if self._end else first / self.rate
            self._end = first + len(room)
        self._next += len(block)


def _decode(track: Track, zero: float, buffer: _WindowBuffer) -> int | None:
    """Decode a track's audio into the buffer; return the number of damaged packets.

    Return None if a block has no time, an unexpected sample rate or an unknown sample format.

    Raises
    ------
    ItemError
        ``decode_error``: the stream has packets, but none can be decoded.
    """
    if not isinstance(track.stream, PyavStream) or track.stream.time_base is None:
        raise ItemError(Status.NO_AUDIO_STREAM, "the file has no audio stream")
    context, tick = track.stream.codec_context, float(track.stream.time_base)
    context.thread_count = 1
    damaged = frame_count = 0
    for packet in [*track.packets, None]:
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            damaged += 1
            continue
        frame_count += len(frames)
        for frame in frames:
            is_known = frame.format.packed.name in PLANE_TYPES
            if frame.pts is None or frame.sample_rate != buffer.rate or not is_known:
                return None
            damaged += frame.is_corrupt
            buffer.add(_mono(frame), frame.pts * tick - zero)
        if buffer.is_full:
            break
    last = track.packets[-1].pts if track.packets else None
    reaches_window = last is None or last * tick >= zero
    if damaged and not frame_count and reaches_window:
        raise ItemError(Status.DECODE_ERROR, "no audio packet can be decoded")
    return damaged


def _mono(frame: AudioFrame) -> Waveform:
    """Return the mean of a block's channels as floats in [-1, 1]."""
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        interleaved = _floats(frame.to_ndarray().reshape(-1, channels))
        mono: Waveform = interleaved.mean(axis=1, dtype=np.float32)
        return mono
    # With eight channels or more, PyAV's `planes` (and so `to_ndarray`) reads past the last one.
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


def _decode_with_ffmpeg(window: Window, audio: AudioStream) -> Waveform:
    """Decode with the ffmpeg program, which converts sample rates and reconstructs block times.

    In aresample, ``first_pts`` drops samples before it and fills a late start with silence;
    ``async`` fills gaps in the stream's times.
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
            Status.DECODE_ERROR, f"ffmpeg cannot decode the audio: {lines[-1]}"
        ) from None
    samples = np.frombuffer(raw, dtype="<f4").reshape(-1, audio.channels)
    mono: Waveform = samples[: round(seconds * audio.rate)].mean(axis=1, dtype=np.float32)
    return mono
