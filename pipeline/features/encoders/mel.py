"""CLAP's log-mel spectrograms for both backends: 48 kHz audio to ``[B, 1001, 64]`` decibels.

A second is exactly 100 hops, so the spectrogram of a repeated second is periodic. It is computed
once, together with the three frames that straddle two repetitions; the rest are copies.
"""

from functools import partial

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
# Frames whose 1024 samples straddle the start: frame i begins at sample 480 i - 512.
EDGE_FRAMES = -(-FFT_SIZE // 2 // HOP)
# Samples on either side of a second's end that its straddling frames (99, 100 and 101) cover.
SEAM = (EDGE_FRAMES - 1) * HOP + FFT_SIZE // 2


class LogMel(torch.nn.Module):
    """Log-mel spectrograms of 10-second windows (HTK mel, no norm, 10 log10, floor 1e-10)."""

    def __init__(self) -> None:
        super().__init__()
        mel = partial(
            torchaudio.transforms.MelSpectrogram,
            sample_rate=SAMPLE_RATE,
            n_fft=FFT_SIZE,
            hop_length=HOP,
            f_min=LOWEST_HZ,
            f_max=HIGHEST_HZ,
            n_mels=BANDS,
        )
        self.mel, self.seam_mel = mel(), mel(center=False)
        self.decibels = torchaudio.transforms.AmplitudeToDB(top_db=None)
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
        return self._spectrogram(self.mel, torch.nn.functional.pad(repeated, (0, padding)))

    def seconds(self, audio: torch.Tensor) -> torch.Tensor:
        """Return ``windows(audio)`` for audio of exactly one second, 25 times faster.

        Parameters
        ----------
        audio
            int16 ``[B, 48000]``, 48 kHz mono.
        """
        seam = torch.cat([audio[:, -SEAM:], audio[:, :SEAM]], dim=1)
        parts = [self._spectrogram(self.mel, audio), self._spectrogram(self.seam_mel, seam)]
        return torch.cat(parts, dim=1).index_select(1, self.second_index)

    def _spectrogram(self, mel: torch.nn.Module, audio: torch.Tensor) -> torch.Tensor:
        decibels: torch.Tensor = self.decibels(mel(audio.float() / FULL_SCALE))
        return decibels.transpose(1, 2)


def _second_index() -> torch.Tensor:
    """Return the source frame of each frame of a repeated second, int64 ``[1001]``.

    Sources 0 to 100 are the frames of the second itself, without repetition at its edges; 101 to
    103 are the frames that stand at 99, 100 and 101 when it is repeated.
    """
    own = torch.arange(SECOND_FRAMES + 1)
    seam = len(own) + torch.arange(2 * EDGE_FRAMES - 1)
    end = EDGE_FRAMES - 1  # number of straddling frames before the second's end
    period = torch.cat([seam[end:], own[EDGE_FRAMES:-EDGE_FRAMES], seam[:end]])
    index = period.repeat(WINDOW_SECONDS + 1)[:WINDOW_FRAMES]
    index[:EDGE_FRAMES], index[-EDGE_FRAMES:] = own[:EDGE_FRAMES], own[-EDGE_FRAMES:]
    return index
