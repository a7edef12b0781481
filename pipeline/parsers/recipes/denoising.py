"""Label denoising, which JoMoLD, CMPAE and CoLeaF share."""

from typing import Literal

from pydantic import Field

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.han import HanRecipe


class DenoisingRecipe(HanRecipe):
    """Options of training with denoised labels; the defaults are JoMoLD's (ECCV 2022, code)."""

    batch_size: option.BatchSize = 128
    learning_rate: option.LearningRate = 5e-4
    step_epochs: option.StepEpochs = 6
    step_factor: option.StepFactor = 0.25
    gate: option.DecisionGate = "modality"

    visual_dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout of the visual features before the head"
    )
    audio_weight: float = Field(2.0, ge=0, description="factor on the loss of audio labels")
    visual_weight: float = Field(1.0, ge=0, description="factor on the loss of visual labels")
    video_weight: float = Field(1.0, ge=0, description="factor on the loss of weak labels")
    nce_weight: float = Field(1.0, ge=0, description="factor on the contrastive loss")
    nce_temperature: option.NceTemperature = 0.2
    nce_smoothing: option.NceSmoothing = 0.1

    noise_ratios: Literal["estimate", "released"] = Field(
        "estimate",
        description="shares of wrong labels per class and modality: estimated by a network trained"
        " before (JoMoLD's stages 1 and 2), or those its authors released for LLP's 25 classes",
    )
    estimator_epochs: int = Field(25, ge=1, description="epochs of the noise estimator")
    audio_noise_threshold: float = Field(
        0.6,
        gt=0,
        description="an audio label is taken for wrong where its probability is below this many"
        " times the class's mean",
    )
    visual_noise_threshold: float = Field(
        1.8,
        gt=0,
        description="a visual label is taken for wrong where its probability is below this many"
        " times the class's mean",
    )
    denoised_from: int = Field(
        2,
        ge=1,
        description="first epoch in which labels are removed; the released code ramps the ratios up"
        " over 0.9 epochs, but in place, so that they are 0 in the whole first epoch",
    )

    @property
    def needs_llp_classes(self) -> bool:
        """Whether the released noise ratios are used, which are numbers of LLP's classes."""
        return self.noise_ratios == "released"
