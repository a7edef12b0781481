"""CMPAE (Gao, Chen, Xu, CVPR 2023): evidence of presence and absence, and mutual learning.

Its network is ``evidence.EvidenceNetwork``. It trains on denoised labels; a mutual loss lets the
modalities teach the global branch in every other batch, and be taught by it in the rest. After
training, each class has a video-level visual threshold of its own.
Axes: B batch, C classes.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.data.annotations import Labels
from pipeline.parsers.class_thresholds import moved_threshold, searched_visual_thresholds
from pipeline.parsers.denoising_plan import DenoisingPlan
from pipeline.parsers.evidence import EvidenceNetwork, mutual_loss
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets, Prediction
from pipeline.parsers.llp_numbers import VISUAL_THRESHOLDS
from pipeline.parsers.plan import PARSER, Batch, Phase, Update, Validation
from pipeline.parsers.recipes import CmpaeRecipe

# Thresholds that the released code tries for each class.
CANDIDATES = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


class Cmpae(EvidenceNetwork):
    """CMPAE.

    Buffer ``visual_thresholds``: θ^v of each class [C] in float64. ``predict`` moves p^v so that
    each θ^v lands on the recipe's ``video_threshold``.
    """

    visual_thresholds: Tensor

    def __init__(self, dimensions: Dimensions, recipe: CmpaeRecipe) -> None:
        super().__init__(dimensions, recipe)
        thresholds = torch.full((dimensions.classes,), recipe.video_threshold, dtype=torch.float64)
        self.register_buffer("visual_thresholds", thresholds)

    def predict(self, inputs: ParserInputs) -> Prediction:
        """Parse a batch by two passes, with each class's visual threshold moved."""
        predicted = super().predict(inputs)
        audio, visual = predicted.by_modality.unbind(dim=1)
        visual = moved_threshold(visual, self.visual_thresholds, self.recipe.video_threshold)
        return replace(predicted, by_modality=torch.stack((audio, visual), dim=1))


class CmpaePlan(DenoisingPlan[CmpaeRecipe]):
    """Train CMPAE; then give each class its visual threshold.

    Buffer ``visual_thresholds`` [C]: the thresholds, until training ends. Epochs are selected with
    one threshold for all classes, as in the released code.
    """

    parser: Cmpae
    visual_thresholds: Tensor

    def __init__(self, parser: Cmpae, dimensions: Dimensions, recipe: CmpaeRecipe) -> None:
        super().__init__(parser, dimensions, recipe)
        thresholds = parser.visual_thresholds.clone()
        if recipe.visual_thresholds == "released":
            thresholds.copy_(torch.tensor(VISUAL_THRESHOLDS, dtype=torch.float64))
        self.register_buffer("visual_thresholds", thresholds)

    def denoised_steps(self, batch: Batch, labels: Tensor) -> Iterator[Update]:
        """Yield the update of a batch; in odd ones the modalities teach the global branch."""
        weak = batch.targets.weak
        output = self.run(self.parser, batch.inputs)
        terms = self.parser.label_terms(output, weak, labels)
        mutual = mutual_loss(output, weak, teaches_video=batch.index % 2 == 1)
        yield Update(terms | {"mutual": self.recipe.mutual_weight * mutual})

    def after_epoch(self, phase: Phase, epoch: int, validation: Validation) -> None:
        """Search the thresholds with the weights of an early epoch, by default the eighth."""
        searches = self.recipe.visual_thresholds == "search" and phase.part == PARSER
        if not searches or epoch != min(self.recipe.threshold_epoch, phase.epochs):
            return

        def event_visual(audio: Labels, visual: Labels) -> float:
            return validation.metrics(audio, visual)["event"]["visual"]

        found = searched_visual_thresholds(
            validation.parse(self.parser), self.recipe, CANDIDATES, event_visual
        )
        self.visual_thresholds.copy_(found)

    def finish(
        self, phase: Phase, inputs: ParserInputs, targets: ParserTargets, validation: Validation
    ) -> None:
        """Give the selected parser its thresholds."""
        super().finish(phase, inputs, targets, validation)
        if phase.part == PARSER:
            self.parser.visual_thresholds.copy_(self.visual_thresholds)
