"""UWAV's parser (Lai et al., CVPR 2025): HAN trained with uncertain pseudo-labels.

Stage 2 of the method. Stage 1, the temporal network that makes the labels, is
``pipeline.labels.temporal``. The loss is that of ``valor_terms`` with soft labels, class weights
and mix-up.

differs: a class or segment counts from 0.5 on, as everywhere in the pipeline; the released code
counts it above 0.5.

Names of the released code and paper, and ours:

========================================  ====================================
released                                  here
========================================  ====================================
audio MLP, in-1024-512                    ``projection.audio.0``, ``.2``
visual and 3-D fusion, 2560-512           ``projection.visual``
HAN layers: self, cross attention         ``encoder.layers.{i}.self_attention``,
                                          ``.cross_attention``
feed-forward, norms 1 and 2               ``.feedforward.0``, ``.3``,
                                          ``.attention_norm``, ``.output_norm``
probability of a segment                  ``head.probability``
attention over time, over modalities      ``head.over_time``, ``head.over_modality``
========================================  ====================================
"""

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserOutput,
    ParserTargets,
)
from pipeline.parsers.layers import HanEncoder, MmilHead
from pipeline.parsers.recipes import UwavRecipe
from pipeline.parsers.valor import valor_terms

# Width of the audio MLP's hidden layer over its output's: 1024 of 512 (released code).
AUDIO_EXPANSION = 2


class UwavProjection(nn.Module):
    """Project features to width d: a two-layer MLP for audio, one linear layer for visual.

    Visual features are those of frames, averaged per segment, joined with 3-D features if there are
    any. differs: with CLIP, the released code has no visual layer, which only works if d is CLIP's
    dimension; ``project_visual: false`` is that variant. (It also builds a fusion layer that it
    never uses then, left out here: 1.0 M parameters at width 768.)
    """

    def __init__(self, dimensions: Dimensions, recipe: UwavRecipe) -> None:
        super().__init__()
        hidden = AUDIO_EXPANSION * recipe.width
        self.audio = nn.Sequential(
            nn.Linear(dimensions.audio, hidden), nn.ReLU(), nn.Linear(hidden, recipe.width)
        )
        self.visual: nn.Module = nn.Identity()
        if recipe.project_visual:
            self.visual = nn.Linear(dimensions.visual + dimensions.motion, recipe.width)
        elif dimensions.visual != recipe.width:
            raise PipelineError(
                f"project_visual is false, so width must be {dimensions.visual}, the size of the"
                f" visual features, not {recipe.width}."
            )

    def forward(self, inputs: ParserInputs) -> tuple[Tensor, Tensor]:
        """Return audio and visual features [B, T, d]."""
        visual = inputs.visual
        if inputs.motion is not None:
            visual = torch.cat([visual, inputs.motion], dim=-1)
        return self.audio(inputs.audio), self.visual(visual)


class Uwav(ParserNetwork):
    """UWAV's parser: projection, five sequential HAN layers with equal starts, MMIL head."""

    def __init__(self, dimensions: Dimensions, recipe: UwavRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.projection = UwavProjection(dimensions, recipe)
        self.encoder = HanEncoder(recipe)
        self.head = MmilHead(recipe.width, dimensions.classes)

    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse a batch of B videos."""
        return cast(ParserOutput, self.head(*self.encoder(*self.projection(inputs))))

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return L_video, the weighted L_seg and L_mix of both modalities."""
        return valor_terms(output, targets, self.recipe)
