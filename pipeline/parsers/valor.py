"""VALOR and VALOR++ (Lai, Chen, Wang, NeurIPS 2023): HAN trained with segment pseudo-labels.

Both use the same network; their recipes differ in width, number of layers and learning rate.
"""

from torch import Tensor

from pipeline.parsers.han import HanNetwork
from pipeline.parsers.interface import Dimensions, ParserOutput, ParserTargets
from pipeline.parsers.losses import segment_bce, video_bce
from pipeline.parsers.recipes import HanEncoderRecipe


class Valor(HanNetwork):
    """VALOR: trained with video-level weak labels and segment pseudo-labels per modality."""

    def __init__(self, dimensions: Dimensions, recipe: HanEncoderRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.segment_weight = recipe.segment_weight

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the three terms of L_VALOR."""
        return valor_terms(output, targets, self.segment_weight)


def valor_terms(
    output: ParserOutput, targets: ParserTargets, segment_weight: float = 1.0
) -> dict[str, Tensor]:
    """Return the terms of L_VALOR: BCE with weak labels and with each modality's pseudo-labels.

    Labels are not smoothed. Source: VALOR's code; LINK eqs. 7-9. Soft labels and class balancing
    come from UWAV.
    """
    audio, visual = targets.pseudo
    segment = {
        "audio_segment": segment_bce(output.audio_logits, audio, targets.balance_audio),
        "visual_segment": segment_bce(output.visual_logits, visual, targets.balance_visual),
    }
    weighted = {name: segment_weight * term for name, term in segment.items()}
    return {"video": video_bce(output.video, targets.weak), **weighted}
