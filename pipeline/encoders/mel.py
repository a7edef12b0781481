"""CLAP's log-mel front-end for both backends: 48 kHz sound to ``[B, 1001, 64]`` decibels.

A repeated second is periodic in its spectrogram too, because a second is exactly 100 hops: two
repeats are transformed and the frames of the other eight are copies.
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
# Frames whose 1024 samples reach over the start: frame i begins at sample 480 i - 512.
EDGE_FRAMES = -(-FFT_SIZE // 2 // HOP)


class LogMel(torch.nn.Module):
    """Log-mel spectrograms of 10-second windows (HTK mel, no norm, 10 log10, floor 1e-10)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=SAMPLE_RATE,
            n_fft=FFT_SIZE,
            hop_length=HOP,
            f_min=LOWEST_HZ,
            f_max=HIGHEST_HZ,
            n_mels=BANDS,
        )
        self.decibels = torchaudio.transforms.AmplitudeToDB(top_db=None)
        self.second_index: torch.Tensor
        self.register_buffer("second_index", _second_index(), persistent=False)

    def windows(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the spectrograms ``[B, 1001, 64]`` of sounds of at most 10 s.

        Shorter ones are repeated a whole number of times, then padded with silence (laion_clap's
        ``repeatpad``).

        Parameters
        ----------
        audio
            int16 ``[B, samples]``, 48 kHz mono.
        """
        repeated = audio.repeat(1, WINDOW_SAMPLES // audio.shape[1])
        padding = WINDOW_SAMPLES - repeated.shape[1]
        return self._spectrogram(torch.nn.functional.pad(repeated, (0, padding)))

    def seconds(self, audio: torch.Tensor) -> torch.Tensor:
        """Return ``windows(audio)`` for sounds of exactly one second, 5 times faster.

        Parameters
        ----------
        audio
            int16 ``[B, 48000]``, 48 kHz mono.
        """
        frames: torch.Tensor = self._spectrogram(audio.repeat(1, 2))[:, self.second_index]
        return frames

    def _spectrogram(self, audio: torch.Tensor) -> torch.Tensor:
        decibels: torch.Tensor = self.decibels(self.mel(audio.float() / FULL_SCALE))
        return decibels.transpose(1, 2)


def _second_index() -> torch.Tensor:
    """Return which frame of two repeats stands for each frame of ten, int64 ``[1001]``."""
    frame = torch.arange(WINDOW_FRAMES)
    inner = EDGE_FRAMES + (frame - EDGE_FRAMES) % SECOND_FRAMES
    from_end = frame - (WINDOW_FRAMES - 1) + 2 * SECOND_FRAMES
    index = torch.where(frame < EDGE_FRAMES, frame, inner)
    return torch.where(frame >= WINDOW_FRAMES - EDGE_FRAMES, from_end, index)
