"""The training plan of JoMoLD, and the base of CMPAE's and CoLeaF's.

Phase "noise estimator" trains a network without cross-modal attention; from its probabilities come
the noise ratios (JoMoLD's stages 1 and 2). The phase after it removes labels from every batch.
With ``noise_ratios: released`` there is no first phase.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypeVar

from pipeline.parsers.denoising import DenoisedNetwork, denoised_labels, noise_ratios, of_both
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserNetwork, ParserTargets
from pipeline.parsers.jomold import Jomold, NoiseEstimator
from pipeline.parsers.llp_numbers import NOISE_RATIOS
from pipeline.parsers.plan import Batch, Phase, TrainingPlan, Update, Validation
from pipeline.parsers.prediction import BATCH
from pipeline.parsers.recipes import DenoisingRecipe

# The part and the optimiser of the first phase.
ESTIMATOR = "estimator"

DenoisingRecipeType = TypeVar("DenoisingRecipeType", bound=DenoisingRecipe, default=DenoisingRecipe)


class DenoisingPlan(TrainingPlan[DenoisingRecipeType]):
    """Train a noise estimator, then the parser on denoised labels.

    Buffer ``ratios``: the noise ratios [2, C] in float64. differs: CMPAE's and CoLeaF's code has no
    estimator and uses JoMoLD's released ratios, which are of LLP and classic features.
    """

    parser: DenoisedNetwork[Any]
    ratios: Tensor

    def __init__(
        self, parser: DenoisedNetwork[Any], dimensions: Dimensions, recipe: DenoisingRecipeType
    ) -> None:
        super().__init__(parser, dimensions, recipe)
        ratios = torch.zeros(2, dimensions.classes, dtype=torch.float64)
        self.estimates = recipe.noise_ratios == "estimate"
        if self.estimates:
            self.estimator = NoiseEstimator(dimensions, recipe)
        else:
            ratios.copy_(torch.tensor(NOISE_RATIOS, dtype=torch.float64))
        self.register_buffer("ratios", ratios)
        if self.estimates and isinstance(parser, Jomold):
            # JoMoLD's stages are programs of their own with the same seed: they start alike.
            self.estimator.load_state_dict(parser.state_dict())

    def phases(self) -> tuple[Phase, ...]:
        """Return the estimator's phase, if there is one, and the parser's."""
        epochs, selection = self.recipe.epochs, self.recipe.selection
        training = Phase("training", epochs, selection, reseeded=self.estimates)
        if not self.estimates:
            return (training,)
        return (
            Phase(
                name="noise estimator",
                epochs=self.recipe.estimator_epochs,
                # JoMoLD's own metric, whatever the method selects by.
                selection="event_audio",
                part=ESTIMATOR,
                optimised={ESTIMATOR: ESTIMATOR},
            ),
            training,
        )

    def steps(self, phase: Phase, batch: Batch) -> Iterator[Update]:
        """Yield the updates of a batch: the estimator's, or those with denoised labels."""
        if phase.part == ESTIMATOR:
            output = self.run(self.estimator, batch.inputs)
            labels = self.estimator.labels(self.modality_labels(batch.targets))
            terms = self.estimator.label_terms(output, batch.targets.weak, labels)
            yield Update(terms, ESTIMATOR)
        else:
            yield from self.denoised_steps(batch, self.denoised(batch))

    def denoised_steps(self, batch: Batch, labels: Tensor) -> Iterator[Update]:
        """Yield the updates of a batch with denoised labels [B, 2, C]."""
        output = self.run(self.parser, batch.inputs)
        yield Update(self.parser.label_terms(output, batch.targets.weak, labels))

    def modality_labels(self, targets: ParserTargets) -> Tensor:
        """Return the labels of audio and visual [B, 2, C] before smoothing: the weak labels."""
        return of_both(targets.weak)

    def denoised(self, batch: Batch) -> Tensor:
        """Return the labels of a batch [B, 2, C], smoothed and denoised.

        What is removed depends on a pass without cross-modal attention, but with dropout.
        """
        weak = self.modality_labels(batch.targets)
        labels = self.parser.labels(weak)
        if batch.epoch < self.recipe.denoised_from:
            return labels
        with torch.no_grad():
            output = self.run(self.parser, batch.inputs, crosses=False)
            probabilities = output.prediction().by_modality
        return denoised_labels(probabilities, labels, weak, self.ratios)

    def validated(self, phase: Phase) -> ParserNetwork[Any]:
        """Return the network that the phase trains."""
        return self.estimator if phase.part == ESTIMATOR else self.parser

    def finish(
        self, phase: Phase, inputs: ParserInputs, targets: ParserTargets, validation: Validation
    ) -> None:
        """Set the noise ratios after the estimator's phase, from its best weights."""
        if phase.part != ESTIMATOR:
            return
        recipe = self.recipe
        ratios = noise_ratios(
            self._estimated(inputs),
            self.modality_labels(targets),
            (recipe.audio_noise_threshold, recipe.visual_noise_threshold),
            (recipe.audio_certainty, recipe.visual_certainty),
        )
        self.ratios.copy_(ratios)

    def _estimated(self, inputs: ParserInputs) -> Tensor:
        """Return the estimator's p^a, p^v of all videos [N, 2, C]."""
        was_training = self.estimator.training
        self.estimator.eval()
        with torch.no_grad():
            parts = [
                self.estimator(inputs.take(rows)).prediction().by_modality
                for rows in torch.arange(len(inputs), device=inputs.audio.device).split(BATCH)
            ]
        self.estimator.train(was_training)
        return torch.cat(parts)
