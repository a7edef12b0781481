"""CLAP's log-mel spectrograms for both backends: 48 kHz audio to ``[B, 1001, 64]`` decibels.

A second is exactly 100 hops, so all but three frames of a second within a window are also frames of
the second on its own, and the spectrogram of a repeated second is periodic. Frames are computed
once; the rest are copies.
"""

import torch
import torchaudio

from pipeline.media import FULL_SCALE, SAMPLE_RATE

# laion_clap 1.1.7: clips of 10 s, model_configs/HTSAT-tiny.json, training/data.py get_mel.
WINDOW_SECONDS = 10
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
FFT_SIZE, HOP, BANDS = 1024, 480, 64
LOWEST_HZ, HIGHEST_HZ = 50.0, 14_000.0

SECOND_FRAMES = SAMPLE_RATE // HOP
WINDOW_FRAMES = WINDOW_SAMPLES // HOP + 1
HALF = FFT_SIZE // 2
# Frequencies of a frame, and those up to the highest of the mel filters; the filters of the others
# are zero.
BINS, HEARD_BINS = HALF + 1, int(HIGHEST_HZ * FFT_SIZE / SAMPLE_RATE) + 1
# Frames on either side of a second that reach over its edge: frame i begins at sample 480 i - 512.
EDGE_FRAMES = -(-HALF // HOP)
# The other frames of a second, those from 2 to 98.
INNER = slice(EDGE_FRAMES, SECOND_FRAMES + 1 - EDGE_FRAMES)
INNER_FRAMES = INNER.stop - INNER.start
# Samples on either side of a second's edge that the frames over it cover.
SEAM = (EDGE_FRAMES - 1) * HOP + HALF
# Power below which all is silence.
FLOOR = 1e-10


class LogMel(torch.nn.Module):
    """Log-mel spectrograms of 10-second windows (HTK mel, no norm, 10 log10, floor 1e-10)."""

    def __init__(self) -> None:
        super().__init__()
        self.hann: torch.Tensor
        self.register_buffer("hann", torch.hann_window(FFT_SIZE), persistent=False)
        self.filters: torch.Tensor
        filters = torchaudio.functional.melscale_fbanks(
            BINS, LOWEST_HZ, HIGHEST_HZ, BANDS, SAMPLE_RATE
        )
        self.register_buffer("filters", filters, persistent=False)
        self.second_index: torch.Tensor
        self.register_buffer("second_index", _second_index(), persistent=False)

    def windows(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the spectrograms ``[B, 1001, 64]`` of audio of at most 10 s.

        Shorter audio is repeated a whole number of times, then padded with silence (``repeatpad``
        in laion_clap).

        Parameters
        ----------
        audio
            int16 ``[B, samples]``, 48 kHz mono.
        """
        repeated = audio.repeat(1, WINDOW_SAMPLES // audio.shape[1])
        padding = WINDOW_SAMPLES - repeated.shape[1]
        window = torch.nn.functional.pad(repeated, (0, padding))
        before, after = _mirrored(window)
        return self._frames(torch.cat([before, window, after], dim=1))

    def edges(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the frames ``[B, 7, 64]`` over the edges of repeated seconds.

        Two at the start of the first repetition, three between repetitions, two at the end of the
        last.

        Parameters
        ----------
        audio
            int16 ``[B, 48000]``, 48 kHz mono.
        """
        before, after = _mirrored(audio)
        head, tail = audio[:, :SEAM], audio[:, -SEAM:]
        pairs = [(before, head), (tail, head), (tail, after)]
        return torch.cat([self._frames(torch.cat(pair, dim=1)) for pair in pairs], dim=1)

    def repeated(self, frames: torch.Tensor) -> torch.Tensor:
        """Return ``windows`` of seconds from the frames that differ.

        Parameters
        ----------
        frames
            ``[B, 104, 64]``: the frames ``INNER`` of each second, which are the same in a longer
            window, and its `edges`.
        """
        return frames.index_select(1, self.second_index)

    def seconds(self, audio: torch.Tensor) -> torch.Tensor:
        """Return ``windows(audio)`` for audio of exactly one second.

        Parameters
        ----------
        audio
            int16 ``[B, 48000]``, 48 kHz mono.
        """
        inner = self._frames(audio[:, EDGE_FRAMES * HOP - HALF :])
        return self.repeated(torch.cat([inner, self.edges(audio)], dim=1))

    def _frames(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the frames ``[B, F, 64]`` of audio, without padding."""
        pieces = (audio.float() / FULL_SCALE).unfold(1, FFT_SIZE, HOP)
        spectrum = torch.fft.rfft(pieces * self.hann)[..., :HEARD_BINS]
        power = torch.nn.functional.pad(spectrum.abs().square(), (0, BINS - HEARD_BINS))
        decibels: torch.Tensor = 10 * (power @ self.filters).clamp(min=FLOOR).log10()
        return decibels


def _mirrored(audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the half frames that continue audio before its start and after its end."""
    return audio[:, 1 : HALF + 1].flip(1), audio[:, -HALF - 1 : -1].flip(1)


def _second_index() -> torch.Tensor:
    """Return the source of each frame of a repeated second, int64 ``[1001]``.

    Sources 0 to 96 are the second's inner frames, 97 to 103 those over its edges.
    """
    edges = torch.arange(INNER_FRAMES, INNER_FRAMES + 4 * EDGE_FRAMES - 1)
    start, seam, end = edges.tensor_split([EDGE_FRAMES, 3 * EDGE_FRAMES - 1])
    before = EDGE_FRAMES - 1  # frames over an edge whose middle is before it
    period = torch.cat([seam[before:], torch.arange(INNER_FRAMES), seam[:before]])
    index = period.repeat(WINDOW_SECONDS + 1)[:WINDOW_FRAMES]
    index[:EDGE_FRAMES], index[-EDGE_FRAMES:] = start, end
    return index
