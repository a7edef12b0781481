"""UWAV (Lai et al., CVPR 2025)."""

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.segment_losses import Balance, LossLabels, Mixup, SegmentLossRecipe


class UwavRecipe(SegmentLossRecipe):
    """UWAV's parser (Lai et al., CVPR 2025, released code): five wide layers, uncertain labels.

    differs: ``labels`` is ``soft`` by default, as the pipeline trains no teacher unless it is
    configured: UWAV's losses on the similarity labels of CLIP and CLAP. With ``labels: teacher`` it
    is UWAV, which also learns from a densely labelled dataset (UnAV-100) and from LLP's dense
    validation labels. Its first table uses VGGish, ResNet and R(2+1)D features (HAN's layout and
    ``motion: true``), its supplement CLIP and CLAP embeddings.
    """

    epochs: option.Epochs = 80
    beta1: option.Beta1 = 0.9
    learning_rate: option.LearningRate = 1e-4
    minimum_learning_rate: option.MinimumLearningRate = 5e-6
    weight_decay: option.WeightDecay = 1e-4
    audio_input: option.AudioInput = "embedding"
    width: option.Width = 512
    layers: option.HanLayers = 5
    heads: option.Heads = 16
    feedforward: option.Feedforward = 2048
    project_visual: bool = Field(
        True,
        description="project visual features to the width; false: CLIP's enter the encoder as they"
        " are (released code), for which width must be their size, 768, and motion false",
    )
    labels: LossLabels = "soft"
    balance: Balance = 0.5
    mixup: Mixup = 1.7

    @model_validator(mode="after")
    def _check_motion(self) -> "UwavRecipe":
        if self.motion and not self.project_visual:
            raise ValueError("motion must be false if project_visual is false")
        return self
