"""VALOR and VALOR++ (Lai, Chen, Wang, NeurIPS 2023): HAN's network and segment pseudo-labels.

Both are this one network; their recipes differ in width, layers and learning rate.
"""

from torch import Tensor

from pipeline.parsers.han import HanNetwork
from pipeline.parsers.interface import Dimensions, ParserOutput, ParserTargets
from pipeline.parsers.losses import segment_bce, video_bce
from pipeline.parsers.recipes import Recipe


class Valor(HanNetwork):
    """VALOR: the video's weak label and each modality's segment pseudo-labels."""

    def __init__(self, dimensions: Dimensions, recipe: Recipe) -> None:
        super().__init__(dimensions, recipe)
        self.segment_weight = recipe.segment_weight

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return L_VALOR's three terms."""
        return valor_terms(output, targets, self.segment_weight)


def valor_terms(
    output: ParserOutput, targets: ParserTargets, segment_weight: float = 1.0
) -> dict[str, Tensor]:
    """L_VALOR: weak labels of the video and pseudo-labels of each modality, no smoothing.

    Source: VALOR's code; LINK eqs. 7-9. Soft labels and balanced classes are UWAV's.
    """
    audio, visual = targets.pseudo
    segment = {
        "audio_segment": segment_bce(output.audio_logits, audio, targets.balance_audio),
        "visual_segment": segment_bce(output.visual_logits, visual, targets.balance_visual),
    }
    weighted = {name: segment_weight * term for name, term in segment.items()}
    return {"video": video_bce(output.video, targets.weak), **weighted}
