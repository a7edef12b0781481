"""HAN (Tian et al., ECCV 2020): hybrid attention and MMIL, trained with weak labels only."""

from typing import cast

from torch import Tensor

from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserNetwork,
    ParserOutput,
    ParserTargets,
)
from pipeline.parsers.layers import HanEncoder, MmilHead, Projection
from pipeline.parsers.losses import smoothed, video_bce
from pipeline.parsers.recipes import HanEncoderRecipe, HanRecipe


class HanNetwork(ParserNetwork):
    """The network of HAN and the VALOR family: projection, HAN encoder and MMIL head.

    differs: the released classes also build encoders that are never used; they are left out.
    """

    def __init__(self, dimensions: Dimensions, recipe: HanEncoderRecipe) -> None:
        super().__init__()
        self.projection = Projection(dimensions, recipe.width)
        self.encoder = HanEncoder(recipe)
        self.head = MmilHead(recipe.width, dimensions.classes)

    def forward(self, inputs: ParserInputs) -> ParserOutput:
        """Parse a batch of B videos."""
        return cast(ParserOutput, self.head(*self.encoder(*self.projection(inputs))))


class Han(HanNetwork):
    """HAN: weak labels supervise video, audio and visual outputs; visual labels are smoothed."""

    def __init__(self, dimensions: Dimensions, recipe: HanRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.audio_certainty = recipe.audio_certainty
        self.visual_certainty = recipe.visual_certainty

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return HAN's video, audio and visual terms (HAN eqs. 6-8)."""
        return han_terms(output, targets, self.audio_certainty, self.visual_certainty)


def han_terms(
    output: ParserOutput, targets: ParserTargets, audio_certainty: float, visual_certainty: float
) -> dict[str, Tensor]:
    """Return the terms of HAN's loss: weak labels, smoothed for single modalities (eqs. 6-8)."""
    return {
        "video": video_bce(output.video, targets.weak),
        "audio_video": video_bce(output.audio_video, smoothed(targets.weak, audio_certainty)),
        "visual_video": video_bce(output.visual_video, smoothed(targets.weak, visual_certainty)),
    }
