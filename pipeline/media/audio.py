"""The sound of a window: 48 kHz, mono, on the frames' clock."""

import functools
import itertools
import shutil
from collections.abc import Iterator

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream as PyavStream
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.errors import ItemError, Status
from pipeline.media.probe import FORMATS, PROTOCOLS, AudioStream, Media, open_media

# CLAP's rate (laion_clap).
SAMPLE_RATE = 48_000

# Seconds to start before a later window, so that the decoder has run in where the window begins.
RUN_IN_SECONDS = 2.0

# Times may jitter in their container; a lost AAC frame (21 ms) is a gap to be filled with silence.
GAP_SECONDS = 0.02

# int16 is what laion_clap makes of a waveform, truncating towards zero.
FULL_SCALE = 32767

Waveform = NDArray[np.float32]


def read_audio(media: Media, start: float, segments: int) -> tuple[NDArray[np.int16], float]:
    """Decode a window's sound.

    The channels are averaged as floats before resampling, 0.5 L + 0.5 R, as librosa does, which
    VALOR used; libraries' other common gain, 0.707, moves CLAP embeddings as much as two segments
    of a clip differ. Resampling is soxr's HQ, librosa's default.

    Parameters
    ----------
    media
        A file with sound.
    start
        The window's start on the clock, in seconds.
    segments
        T; the window is T seconds.

    Returns
    -------
    samples
        ``[T * 48000]`` int16, truncated ``clip(x, -1, 1) * 32767``; silence where the stream has
        not begun, has holes, or is over.
    end
        When the stream's sound ends, in seconds from the window's start; T at most, 0 when it
        has none in the window.

    Raises
    ------
    ItemError
        ``no_audio_stream``, ``decode_error``, ``not_finite``.
    """
    if media.audio is None:
        raise ItemError(Status.NO_AUDIO_STREAM, "the file has no sound")
    rate = media.audio.rate
    zero = media.origin + start
    heard = _decode(media, media.audio, zero, segments)
    if heard is None:
        heard = _decode_with_program(media, media.audio, zero, segments)
    if not np.isfinite(heard).all():
        raise ItemError(Status.NOT_FINITE, "its sound has values that are not numbers")
    waveform = heard if rate == SAMPLE_RATE else soxr.resample(heard, rate, SAMPLE_RATE, "HQ")
    samples = np.zeros(segments * SAMPLE_RATE, dtype=np.int16)
    quantised = (np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    samples[: len(quantised)] = quantised[: len(samples)]
    return samples, len(heard) / rate


class _Line:
    """A window's mono samples in the making, each block put where its time says."""

    def __init__(self, rate: int, segments: int) -> None:
        self._rate = rate
        self._samples = np.zeros(round(segments * rate), dtype=np.float32)
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
        place = round(seconds * self._rate)
        if self._next is None or place - self._next > GAP_SECONDS * self._rate:
            self._next = place
        elif self._next - place > GAP_SECONDS * self._rate:
            block = block[self._next - place :]
        inside = block[max(-self._next, 0) :]
        first = max(self._next, 0)
        room = self._samples[first : first + len(inside)]
        room[:] = inside[: len(room)]
        self._next += len(block)


def _decode(media: Media, audio: AudioStream, zero: float, segments: int) -> Waveform | None:
    """Return ``[S]`` mono samples from ``zero`` of the container's time to the stream's end.

    None where a block has no time or another rate than the header says.
    """
    for target in (zero - RUN_IN_SECONDS, None) if zero > RUN_IN_SECONDS else (None,):
        with open_media(media.path) as container:
            stream = container.streams[audio.index]
            if not isinstance(stream, PyavStream) or stream.time_base is None:
                raise ItemError(Status.NO_AUDIO_STREAM, "the file has no sound")
            tick = float(stream.time_base)
            frames = _frames(container, stream, target)
            first = next(frames, None)
            is_late = first is None or first.pts is None or first.pts * tick > zero
            if target is not None and is_late:
                continue  # the index is wrong: read from the file's start
            line = _Line(audio.rate, segments)
            for frame in itertools.chain([first] if first else [], frames):
                if frame.pts is None or frame.sample_rate != audio.rate:
                    return None
                line.add(_mono(frame), frame.pts * tick - zero)
                if line.is_full:
                    break
            return line.heard
    return None


def _frames(
    container: InputContainer, stream: PyavStream, target: float | None
) -> Iterator[AudioFrame]:
    """Yield what can be decoded, from the ``target`` second of the container's time on.

    Raises
    ------
    ItemError
        ``decode_error``: the stream has packets, and not one can be decoded.
    """
    stream.codec_context.thread_count = 1
    damaged = decoded = 0
    try:
        if target is not None:
            container.seek(int(target / float(stream.time_base or 1)), stream=stream)
        for packet in container.demux(stream):
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError:
                damaged += 1
                continue
            decoded += len(frames)
            yield from frames
    except av.FFmpegError:
        pass  # a file cut in the middle gives what it has
    if damaged and not decoded:
        raise ItemError(Status.DECODE_ERROR, "not one packet of its sound can be decoded")


def _mono(frame: AudioFrame) -> Waveform:
    """Return the mean of a block's channels as floats in [-1, 1]."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = samples.astype(np.int16) - 128 << 8
    if samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / 2.0 ** (8 * samples.itemsize - 1)
    mono: Waveform = samples.mean(axis=0, dtype=np.float32)
    return mono


def _decode_with_program(media: Media, audio: AudioStream, zero: float, segments: int) -> Waveform:
    """Do what ``_decode`` does with ffmpeg's program, which converts rates and makes up times.

    aresample with ``first_pts`` drops what comes before that sample and puts silence where the
    stream begins later; with ``async`` it fills holes in the stream's times.
    """
    seek: dict[str, object] = {}
    if zero > RUN_IN_SECONDS:
        seek = {"ss": zero - RUN_IN_SECONDS, "seek_timestamp": 1, "noaccurate_seek": None}
    align = (
        f"aresample={audio.rate}:async=1:min_comp=0.000001:min_hard_comp={GAP_SECONDS}"
        f":first_pts={round(zero * audio.rate)},atrim=end={zero + segments + 1:.6f}"
    )
    source = ffmpeg.input(
        str(media.path),
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
            cmd=executable(), capture_stdout=True, capture_stderr=True
        )
    except ffmpeg.Error as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ItemError(
            Status.DECODE_ERROR, f"ffmpeg cannot decode the sound: {lines[-1]}"
        ) from None
    samples = np.frombuffer(raw, dtype="<f4").reshape(-1, audio.channels)
    heard: Waveform = samples[: round(segments * audio.rate)].mean(axis=1, dtype=np.float32)
    return heard


@functools.cache
def executable() -> str:
    """Return ffmpeg's program: the one on the PATH, else the one that imageio-ffmpeg carries."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())
