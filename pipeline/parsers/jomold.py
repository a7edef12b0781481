"""JoMoLD (Cheng et al., ECCV 2022): HAN with a contrastive loss, trained on denoised weak labels.

Its training, with the noise estimator before it, is ``denoising_plan.DenoisingPlan``.

Names in the released code -> here:
    fc_a, fc_v, fc_st, fc_fusion                   projection.audio, .visual, .motion, .fusion
    hat_encoder                                    encoder
    fc_prob, fc_frame_att, fc_av_att               head.probability, .over_time, .over_modality
"""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.parsers.class_thresholds import moved_threshold
from pipeline.parsers.denoising import DenoisedNetwork
from pipeline.parsers.interface import (
    Dimensions,
    ParserInputs,
    ParserOutput,
    Prediction,
)
from pipeline.parsers.layers import HanEncoder, MmilHead, Projection
from pipeline.parsers.losses import segment_nce, video_bce
from pipeline.parsers.recipes import DenoisingRecipe

# Thresholds of JoMoLD's decisions on segments and videos.
ESTIMATOR_THRESHOLD = 0.5


class Jomold(DenoisedNetwork[ParserOutput]):
    """JoMoLD's network: HAN's, with dropout of the visual features before the head."""

    def __init__(self, dimensions: Dimensions, recipe: DenoisingRecipe) -> None:
        super().__init__(recipe)
        self.recipe = recipe
        self.projection = Projection(dimensions, recipe.width)
        self.encoder = HanEncoder(recipe)
        self.visual_dropout = nn.Dropout(recipe.visual_dropout)
        self.head = MmilHead(recipe.width, dimensions.classes)

    def forward(self, inputs: ParserInputs, crosses: bool = True) -> ParserOutput:
        """Run the network; the features of its output are those before the visual dropout."""
        audio, visual = self.encoder(*self.projection(inputs), crosses)
        output = cast(ParserOutput, self.head(audio, self.visual_dropout(visual)))
        return replace(output, visual_features=visual)

    def label_terms(self, output: ParserOutput, weak: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return JoMoLD's four terms; labels of audio and visual [B, 2, C]."""
        recipe = self.recipe
        weights = {
            "video": recipe.video_weight,
            "audio_video": recipe.audio_weight,
            "visual_video": recipe.visual_weight,
            "nce": recipe.nce_weight,
        }
        terms = self.unweighted_terms(output, weak, labels)
        return {name: weights[name] * term for name, term in terms.items()}

    def unweighted_terms(
        self, output: ParserOutput, weak: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the cross-entropies and the loss that pairs both modalities' segments."""
        return {
            "video": video_bce(output.video, weak),
            "audio_video": video_bce(output.audio_video, labels[:, 0]),
            "visual_video": video_bce(output.visual_video, labels[:, 1]),
            "nce": segment_nce(
                output.audio_features,
                output.visual_features,
                self.recipe.nce_temperature,
                self.recipe.nce_smoothing,
            ),
        }


class NoiseEstimator(Jomold):
    """JoMoLD's stage 1: its network without cross-modal attention, all losses weighted 1."""

    def forward(self, inputs: ParserInputs, crosses: bool = False) -> ParserOutput:
        """Run the network."""
        return super().forward(inputs, crosses)

    def label_terms(self, output: ParserOutput, weak: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the four terms of stage 1; labels of audio and visual [B, 2, C]."""
        return self.unweighted_terms(output, weak, labels)

    def predict(self, inputs: ParserInputs) -> Prediction:
        """Parse a batch; 0.5 is moved onto the recipe's thresholds, which may be CMPAE's."""
        predicted = super().predict(inputs)
        own = torch.tensor(ESTIMATOR_THRESHOLD)
        video = self.recipe.video_threshold
        return Prediction(
            moved_threshold(predicted.segments, own, self.recipe.segment_threshold),
            moved_threshold(predicted.video, own, video),
            moved_threshold(predicted.by_modality, own, video),
        )
