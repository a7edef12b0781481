"""VALOR, VALOR+ and VALOR++ (Lai, Chen, Wang, NeurIPS 2023): HAN with segment pseudo-labels.

All use the same network; their recipes differ in width, number of layers and learning rate.
"""

from torch import Tensor

from pipeline.core.vocabulary import MODALITIES
from pipeline.parsers.han import HanNetwork
from pipeline.parsers.interface import Dimensions, ParserOutput, ParserTargets
from pipeline.parsers.losses import (
    balance_weights,
    draw_mixture,
    mixup_bce,
    rarity_weights,
    segment_bce,
    video_bce,
)
from pipeline.parsers.recipes import SegmentLossRecipe

PLAIN = SegmentLossRecipe()


class Valor(HanNetwork):
    """VALOR: trained with video-level weak labels and segment pseudo-labels per modality."""

    def __init__(self, dimensions: Dimensions, recipe: SegmentLossRecipe) -> None:
        super().__init__(dimensions, recipe)
        self.recipe = recipe

    def loss_terms(self, output: ParserOutput, targets: ParserTargets) -> dict[str, Tensor]:
        """Return the three terms of L_VALOR, and mix-up's if the recipe mixes."""
        return valor_terms(output, targets, self.recipe)


def valor_terms(
    output: ParserOutput, targets: ParserTargets, recipe: SegmentLossRecipe = PLAIN
) -> dict[str, Tensor]:
    """Return the terms of L_VALOR: BCE with weak labels and with each modality's pseudo-labels.

    Labels are not smoothed. Source: VALOR's code; LINK eqs. 7-9. The recipe can add what UWAV
    changes: soft labels, ``balance`` and ``mixup``. ``mixup`` reads the logits, so it mixes
    whatever the classifier reads.
    """
    logits = dict(zip(MODALITIES, (output.audio_logits, output.visual_logits), strict=True))
    labels = dict(zip(MODALITIES, targets.pseudo, strict=True))
    terms = {"video": video_bce(output.video, targets.weak)}
    for index, modality in enumerate(MODALITIES):
        rarity = balance = None
        if recipe.rarity:
            rarity = rarity_weights(targets.frequencies[index], recipe.rarity)
            rarity = rarity.to(logits[modality].dtype)
        if recipe.balance:
            balance = balance_weights(targets.weak, targets.frequencies[index], recipe.balance)
        loss = segment_bce(logits[modality], labels[modality], rarity, balance)
        terms[f"{modality}_segment"] = recipe.segment_weight * loss
    if recipe.mixup:
        for modality in MODALITIES:
            segments = len(logits[modality]) * logits[modality].shape[1]
            mixture = draw_mixture(segments, recipe.mixup, logits[modality].device)
            terms[f"{modality}_mixup"] = mixup_bce(logits[modality], labels[modality], mixture)
    return terms
