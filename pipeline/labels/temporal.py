"""UWAV's temporal label network (Lai et al., CVPR 2025), stage 1 of the method.

It turns the CLAP and CLIP embeddings of a whole video into class logits of every second, which see
the seconds around them; plain similarities do not. It learns from a densely labelled dataset
(UnAV-100), so its pseudo-labels rest on supervision that LLP's training videos do not have.

Names of the paper and released code, and ours:

==========================================  ========================================
released                                    here
==========================================  ========================================
input MLP of a modality, in-2048-1024       ``{audio,visual}.input.0``, ``.2``
transformer encoder, 5 post-norm layers     ``{audio,visual}.encoder.layers.{i}``
output MLP, 1024-out-out                    ``{audio,visual}.output.0``, ``.2``
logit scale, 3.2912 and 4.6052              ``{audio,visual}.scale`` (not trained)
==========================================  ========================================

Axes: B videos, T seconds, C classes, D embedding.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.labels.teacher_options import TeacherOptions


class TemporalBranch(nn.Module):
    """The network of one modality: MLP, transformer encoder, MLP, products with class texts.

    There is no positional encoding and no token for padding. The encoder's layers start equal, as
    in the released code; the modalities start different.
    """

    scale: Tensor

    def __init__(self, dimension: int, scale: float, options: TeacherOptions) -> None:
        super().__init__()
        width = options.width
        self.input = nn.Sequential(
            nn.Linear(dimension, options.hidden), nn.ReLU(), nn.Linear(options.hidden, width)
        )
        layer = nn.TransformerEncoderLayer(
            width, options.heads, options.feedforward, options.dropout, batch_first=True
        )
        # Nested tensors would drop padded seconds from the output.
        self.encoder = nn.TransformerEncoder(layer, options.layers, enable_nested_tensor=False)
        self.output = nn.Sequential(
            nn.Linear(width, dimension), nn.ReLU(), nn.Linear(dimension, dimension)
        )
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, embeddings: Tensor, texts: Tensor, padding: Tensor | None = None) -> Tensor:
        """Return logits [B, T, C].

        Parameters
        ----------
        embeddings
            L2-normalised embeddings [B, T, D].
        texts
            L2-normalised class texts [C, D].
        padding
            Seconds that no other second attends to [B, T], bool; None if there are none.
        """
        encoded = self.encoder(self.input(embeddings), src_key_padding_mask=padding)
        # The output is not normalised: the product is no cosine.
        return cast(Tensor, self.output(encoded) @ texts.T * self.scale)


class TemporalNetwork(nn.Module):
    """Both modalities' branches.

    Parameters
    ----------
    audio, visual
        Dimension of the embeddings and class texts of each modality.
    options
        Sizes.
    """

    def __init__(self, audio: int, visual: int, options: TeacherOptions) -> None:
        super().__init__()
        self.audio = TemporalBranch(audio, options.audio_scale, options)
        self.visual = TemporalBranch(visual, options.visual_scale, options)

    def forward(
        self,
        embeddings: tuple[Tensor, Tensor],
        texts: tuple[Tensor, Tensor],
        padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return audio and visual logits [B, T, C], see ``TemporalBranch``."""
        audio = self.audio(embeddings[0], texts[0], padding)
        return audio, self.visual(embeddings[1], texts[1], padding)


def heard_and_seen(logits: tuple[Tensor, Tensor]) -> Tensor:
    """Return the probability that a class is heard and seen, ``σ(z^a)·σ(z^v)`` [B, T, C]."""
    return logits[0].sigmoid() * logits[1].sigmoid()


def temporal_loss(
    logits: tuple[Tensor, Tensor], labels: Tensor, valid: Tensor, positive_weight: float
) -> Tensor:
    """Return the weighted BCE of ``heard_and_seen``, averaged over valid seconds and classes.

    Probabilities are not clamped; torch bounds the logarithm at -100, as the released code does.

    Parameters
    ----------
    logits
        Audio and visual logits [B, T, C].
    labels
        Classes that are heard and seen [B, T, C] in {0, 1}.
    valid
        Seconds that are not padding [B, T], bool.
    positive_weight
        Weight of the classes that occur anywhere in the video; others have 1.
    """
    elements = functional.binary_cross_entropy(heard_and_seen(logits), labels, reduction="none")
    occurs = labels.amax(dim=1, keepdim=True) > 0
    weights = torch.where(occurs, positive_weight, 1.0)
    summed = (weights * elements * valid.unsqueeze(-1)).sum()
    return summed / (valid.sum() * labels.shape[2])
