"""CoLeaF's reference networks and their loss (Sardari et al., ECCV 2024); training only.

Axes: B batch, T segments, C classes, d width.

Names in the released code -> here:
    fc_a                                 projection (audio)
    fc_v, fc_st, fc_fusion               visual, motion, fusion (visual)
    cls_tokens_a, cls_tokens_v [1, C, d] tokens [C, d]
    hat_encoder.layers.0.self_attn       encoder.0.self_attn
    hat_encoder.layers.0.linear1, 2      encoder.0.linear1, 2
    hat_encoder.layers.0.norm1, 2        encoder.0.norm1, 2
    fc_prob, fc_frame_att                probability, over_time
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.recipes import CoLeafRecipe

# Asymmetric loss (Ridnik et al., ICCV 2021) as CoLeaF's code sets it: negatives are shifted by this
# margin, logarithms are floored, and the focusing exponent of positives and negatives is 1.
ASYMMETRIC_MARGIN = 0.05
ASYMMETRIC_FLOOR = 1e-8


@dataclass(frozen=True)
class ReferenceOutput:
    """What a reference network computes for B videos.

    Attributes
    ----------
    video
        Video-level probabilities p_ref [B, C] of the modality, in [0, 1].
    tokens
        Probabilities [B, C] of the class tokens, in (0, 1).
    features
        Encoder outputs of the segments [B, T, d].
    """

    video: Tensor
    tokens: Tensor
    features: Tensor

    def float(self) -> Self:
        """Return a copy in float32 if a bfloat16 forward pass made it."""
        tensors = vars(self).items()
        return replace(self, **{k: v.float() for k, v in tensors if v.dtype is torch.bfloat16})


class Reference(nn.Module, ABC):
    """CoLeaF's reference network of one modality: self-attention over class tokens and segments.

    The layer is HAN's without cross-attention, which is torch's post-norm encoder layer.
    differs: the released class also builds that cross-attention, two LayerNorms and a pooling that
    are never used (1 052 672 parameters); they are left out.
    """

    def __init__(self, dimensions: Dimensions, recipe: CoLeafRecipe) -> None:
        super().__init__()
        width, classes = recipe.width, dimensions.classes
        # Zeros: class tokens start equal, and so do their outputs (released code).
        self.tokens = nn.Parameter(torch.zeros(classes, width))
        self.encoder = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, recipe.heads, recipe.feedforward, recipe.dropout, batch_first=True
                )
                for _ in range(recipe.layers)
            )
        )
        self.probability = nn.Linear(width, classes)
        self.over_time = nn.Linear(width, classes)
        self.dropout = nn.Dropout(recipe.reference_dropout)

    @abstractmethod
    def project(self, inputs: ParserInputs) -> Tensor:
        """Return the segments of the modality [B, T, d] from the cached features."""

    @abstractmethod
    def time_features(self, features: Tensor, dropped: Tensor) -> Tensor:
        """Return what the attention over segments reads: features before or after dropout."""

    def forward(self, inputs: ParserInputs) -> ReferenceOutput:
        """Parse a batch of B videos from one modality."""
        segments = self.project(inputs)
        classes = len(self.tokens)
        tokens = self.tokens.expand(len(segments), -1, -1)
        encoded = self.encoder(torch.cat([tokens, segments], dim=1))
        # The mean of a LayerNorm's output: 0.5 until that norm's gains differ or it has a bias.
        token_probabilities = encoded[:, :classes].mean(dim=2).sigmoid()
        features = encoded[:, classes:]
        dropped = self.dropout(features)
        weights = self.over_time(self.time_features(features, dropped)).softmax(dim=1)
        video = (weights * self.probability(dropped).sigmoid()).sum(dim=1)
        return ReferenceOutput(video, token_probabilities, features)


class AudioReference(Reference):
    """The audio reference; its attention over segments sees features before dropout."""

    def __init__(self, dimensions: Dimensions, recipe: CoLeafRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.projection = nn.Linear(dimensions.audio, recipe.width)

    def project(self, inputs: ParserInputs) -> Tensor:
        """Return the audio segments [B, T, d]."""
        projected: Tensor = self.projection(inputs.audio)
        return projected

    def time_features(self, features: Tensor, dropped: Tensor) -> Tensor:
        """Return the features before dropout."""
        return features


class VisualReference(Reference):
    """The visual reference; classifier and attention over segments share one dropout."""

    def __init__(self, dimensions: Dimensions, recipe: CoLeafRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.visual = nn.Linear(dimensions.visual, recipe.width)
        self.has_motion = dimensions.motion > 0
        if self.has_motion:
            self.motion = nn.Linear(dimensions.motion, recipe.width)
            self.fusion = nn.Linear(2 * recipe.width, recipe.width)

    def project(self, inputs: ParserInputs) -> Tensor:
        """Return the visual segments [B, T, d]."""
        frames = inputs.visual
        # The released code averages after the projection, which is linear, so the order is free.
        visual: Tensor = self.visual(frames.mean(dim=2) if frames.ndim == 4 else frames)
        if self.has_motion:
            visual = self.fusion(torch.cat([visual, self.motion(inputs.motion)], dim=-1))
        return visual

    def time_features(self, features: Tensor, dropped: Tensor) -> Tensor:
        """Return the features after dropout."""
        return dropped


def asymmetric_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the asymmetric loss of CoLeaF's references, **summed** over videos and classes.

    ``-Σ (1 - (y p + (1 - y) q)) (y log p + (1 - y) log q)`` with ``q = min(1, 1 - p + 0.05)``. No
    gradient flows through the first factor. For soft labels the factor is common to both
    logarithms. Source: CoLeaF's code; Ridnik et al., ICCV 2021.

    Parameters
    ----------
    probabilities, labels
        [B, C], in [0, 1].
    """
    absent = (1 - probabilities + ASYMMETRIC_MARGIN).clamp(max=1)
    present_log = probabilities.clamp(min=ASYMMETRIC_FLOOR).log()
    absent_log = absent.clamp(min=ASYMMETRIC_FLOOR).log()
    likelihood = labels * probabilities + (1 - labels) * absent
    focus = (1 - likelihood).detach()
    return -(focus * (labels * present_log + (1 - labels) * absent_log)).sum()
