"""The sound of a window: 48 kHz, mono, on the frames' clock."""

import functools
import shutil

import ffmpeg
import imageio_ffmpeg
import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.errors import ItemError, Status
from pipeline.media.probe import FORMATS, PROTOCOLS, AudioStream, Media

# CLAP's rate (laion_clap).
SAMPLE_RATE = 48_000

# Seconds to start before a later window, so that the decoder has run in where the window begins.
RUN_IN_SECONDS = 2.0

# Times may jitter in their container; a lost AAC frame (21 ms) is a gap to be filled with silence.
GAP_SECONDS = 0.02

# int16 is what laion_clap makes of a waveform, truncating towards zero.
FULL_SCALE = 32767


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
    native = _decode(media, media.audio, media.origin + start, segments)
    if not np.isfinite(native).all():
        raise ItemError(Status.NOT_FINITE, "its sound has values that are not numbers")
    heard = native[: round(segments * rate)].mean(axis=1, dtype=np.float32)
    waveform = heard if rate == SAMPLE_RATE else soxr.resample(heard, rate, SAMPLE_RATE, "HQ")
    samples = np.zeros(segments * SAMPLE_RATE, dtype=np.int16)
    quantised = (np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    samples[: len(quantised)] = quantised[: len(samples)]
    return samples, len(heard) / rate


def _decode(media: Media, audio: AudioStream, zero: float, segments: int) -> NDArray[np.float32]:
    """Return ``[S, channels]`` samples whose first one lies at ``zero`` of the container's time.

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
    return np.frombuffer(raw, dtype="<f4").reshape(-1, audio.channels)


@functools.cache
def executable() -> str:
    """Return ffmpeg's program: the one on the PATH, else the one that imageio-ffmpeg carries."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())
