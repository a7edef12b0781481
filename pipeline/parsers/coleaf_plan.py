"""How CoLeaF and CoLeaF+ train: two references and an anchor, each with an optimiser (ECCV 2024).

In every batch, labels are denoised as in JoMoLD; then the audio reference, the visual reference and
the anchor are updated in this order, all with the same labels.
Axes: B batch, C classes; stacked modalities: 0 audio, 1 visual.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.core.vocabulary import MODALITIES
from pipeline.parsers.coleaf import (
    CoLeaf,
    agreed_labels,
    cross_class_loss,
    cross_class_target,
    exclusive_shares,
)
from pipeline.parsers.coleaf_references import (
    AudioReference,
    Reference,
    ReferenceOutput,
    VisualReference,
    asymmetric_loss,
)
from pipeline.parsers.denoising_plan import DenoisingPlan
from pipeline.parsers.evidence import EvidenceOutput, mutual_loss
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.losses import any_segment, clamped_probabilities, segment_nce, video_bce
from pipeline.parsers.plan import PARSER, Batch, Phase, Update
from pipeline.parsers.recipes import CoLeafPlusRecipe, CoLeafRecipe


@dataclass(frozen=True)
class Constants:
    """Constants of one modality in CoLeaF's code.

    Attributes
    ----------
    agreement
        The anchor agrees with a label from this probability.
    certain
        A reference is certain at or below the first probability and at or above the second.
    first, later
        Factors on a reference's losses in the first epochs and afterwards: of p_ref and of the
        class tokens with the denoised labels, and of p_ref with the agreed labels.
    """

    agreement: float
    certain: tuple[float, float]
    first: tuple[float, float, float]
    later: tuple[float, float, float]


REFERENCE_CONSTANTS = {
    "audio": Constants(
        agreement=0.5, certain=(0.1, 0.8), first=(1.0, 1.2, 0.0), later=(0.5, 0.001, 0.5)
    ),
    "visual": Constants(
        agreement=0.6, certain=(0.4, 0.6), first=(1.0, 1.0, 0.0), later=(0.5, 0.0, 0.5)
    ),
}


class CoLeafPlan(DenoisingPlan[CoLeafRecipe]):
    """Train CoLeaf's anchor, the parser, together with its references.

    Passes without gradient (for denoising, for the labels that the anchor agrees with, for what the
    references teach) run in training mode, with dropout, as in the released code.
    """

    parser: CoLeaf

    def __init__(self, parser: CoLeaf, dimensions: Dimensions, recipe: CoLeafRecipe) -> None:
        super().__init__(parser, dimensions, recipe)
        self.audio_reference = AudioReference(dimensions, recipe)
        self.visual_reference = VisualReference(dimensions, recipe)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of denoising; three optimisers share the last one."""
        *before, training = super().phases()
        parts = (PARSER, "audio_reference", "visual_reference")
        return (*before, replace(training, optimised={part: part for part in parts}))

    def denoised_steps(self, batch: Batch, labels: Tensor) -> Iterator[Update]:
        """Yield the updates of a batch with denoised labels [B, 2, C]."""
        with torch.no_grad():
            seen = self.run(self.parser, batch.inputs).by_modality
        for index, modality in enumerate(MODALITIES):
            output = self.run(self._reference(modality), batch.inputs)
            own = labels[:, index]
            agreed = agreed_labels(own, seen[:, index], REFERENCE_CONSTANTS[modality].agreement)
            terms = self._reference_terms(modality, output, own, agreed, batch.epoch)
            yield Update(terms, f"{modality}_reference")
        guided = batch.epoch >= self.recipe.guided_from
        references = self._opinions(batch.inputs) if guided else {}
        anchor = self.run(self.parser, batch.inputs)
        yield Update(self.anchor_terms(anchor, references, batch, labels))

    def anchor_terms(
        self,
        output: EvidenceOutput,
        references: dict[str, ReferenceOutput],
        batch: Batch,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """Return the anchor's loss terms.

        Parameters
        ----------
        output
            What the anchor computes.
        references
            What the updated references compute, by modality; empty before the anchor is guided.
        batch, labels
            The batch, and its denoised labels [B, 2, C].
        """
        weak = batch.targets.weak
        terms = self.parser.label_terms(output, weak, labels)
        mutual = mutual_loss(output, weak, teaches_video=batch.index % 2 == 1)
        terms["mutual"] = self.recipe.mutual_weight * mutual
        terms |= self._relations(output, references, labels)
        return terms | self._contrasts(output, references)

    def _reference(self, modality: str) -> Reference:
        return self.audio_reference if modality == "audio" else self.visual_reference

    @torch.no_grad()
    def _opinions(self, inputs: ParserInputs) -> dict[str, ReferenceOutput]:
        return {modality: self.run(self._reference(modality), inputs) for modality in MODALITIES}

    def _reference_terms(
        self, modality: str, output: ReferenceOutput, labels: Tensor, agreed: Tensor, epoch: int
    ) -> dict[str, Tensor]:
        """Return a reference's losses; those with factor 0 stay, so that all epochs have them."""
        constants = REFERENCE_CONSTANTS[modality]
        alone = epoch <= self.recipe.reference_epochs
        of_labels, of_tokens, of_agreed = constants.first if alone else constants.later
        return {
            f"{modality}_reference": of_labels * asymmetric_loss(output.video, labels),
            f"{modality}_reference_tokens": of_tokens * asymmetric_loss(output.tokens, labels),
            f"{modality}_reference_agreed": of_agreed * asymmetric_loss(output.video, agreed),
        }

    def _relations(
        self, output: EvidenceOutput, references: dict[str, ReferenceOutput], labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the cross-class losses of both modalities; 0 without references."""
        terms = {f"{modality}_relation": labels.new_zeros(()) for modality in MODALITIES}
        videos = len(labels)
        factor = videos if self.recipe.relation_sum == "times_batch" else 1 / videos
        probabilities = clamped_probabilities(output.by_modality)
        for index, (modality, reference) in enumerate(references.items()):
            own, certain = probabilities[:, index], REFERENCE_CONSTANTS[modality].certain
            target = cross_class_target(own, reference.video, labels[:, index], certain)
            loss = factor * cross_class_loss(own, target)
            terms[f"{modality}_relation"] = self.recipe.relation_weight * loss
        return terms

    def _contrasts(
        self, output: EvidenceOutput, references: dict[str, ReferenceOutput]
    ) -> dict[str, Tensor]:
        """Return the contrastive losses of references and anchor; 0 without references."""
        recipe, nothing = self.recipe, output.logits.new_zeros(())
        if not references:
            return {f"{modality}_contrast": nothing for modality in MODALITIES}
        audio, visual = references["audio"], references["visual"]
        heard_only, seen_only = exclusive_shares(audio.video, visual.video)

        def contrast(reference: ReferenceOutput, anchor: Tensor, shares: Tensor) -> Tensor:
            constants = recipe.nce_temperature, recipe.nce_smoothing
            return segment_nce(reference.features, anchor, *constants, video_weights=shares)

        of_audio = contrast(audio, output.audio_features, heard_only)
        of_visual = contrast(visual, output.visual_features, seen_only)
        return {
            "audio_contrast": recipe.audio_contrast_weight * of_audio,
            "visual_contrast": recipe.visual_contrast_weight * of_visual,
        }


class CoLeafPlusPlan(CoLeafPlan):
    """Train CoLeaF with segment pseudo-labels, in one of the readings of ``CoLeafPlusRecipe``."""

    recipe: CoLeafPlusRecipe

    def modality_labels(self, targets: ParserTargets) -> Tensor:
        """Return labels of audio and visual [B, 2, C]: weak ones with a pseudo-label in a segment.

        They replace the weak labels wherever these stand for one modality: in the noise estimator,
        its ratios, the denoising, the references and the anchor.
        """
        if self.recipe.pseudo_labels == "segment":
            return super().modality_labels(targets)
        return torch.stack([any_segment(labels) for labels in targets.pseudo], dim=1)

    def anchor_terms(
        self,
        output: EvidenceOutput,
        references: dict[str, ReferenceOutput],
        batch: Batch,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """Return CoLeaF's terms and, if pseudo-labels supervise segments, VALOR's two."""
        terms = super().anchor_terms(output, references, batch, labels)
        if self.recipe.pseudo_labels == "video":
            return terms
        targets = batch.targets
        segments = output.prediction().segments
        for index, modality in enumerate(MODALITIES):
            loss = video_bce(segments[:, :, index], targets.pseudo[index])
            terms[f"{modality}_segment"] = self.recipe.segment_weight * loss
        return terms
