"""UWAV (Lai et al., CVPR 2025)."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes.segment_losses import SegmentLossRecipe


class UwavRecipe(SegmentLossRecipe):
    """UWAV's parser (Lai et al., CVPR 2025, released code): five wide layers, uncertain labels.

    differs: ``labels`` is ``soft`` by default, as the pipeline trains no teacher unless it is
    configured: UWAV's losses on the similarity labels of CLIP and CLAP. With ``labels: teacher`` it
    is UWAV, which also learns from a densely labelled dataset (UnAV-100) and from LLP's dense
    validation labels. Its first table uses VGGish, ResNet and R(2+1)D features (HAN's layout and
    ``motion: true``), its supplement CLIP and CLAP embeddings.
    """

    epochs: int = Field(80, ge=1, description="passes over the training videos")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the optimiser's running mean")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate after warm-up")
    minimum_learning_rate: float = Field(
        5e-6, ge=0, description="learning rate of the last epoch (cosine)"
    )
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    audio_input: Literal["map", "embedding"] = Field(
        "embedding", description="CLAP's projected embedding, or its pooled feature map (VALOR++)"
    )
    width: int = Field(512, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(5, ge=0, le=64, description="layers of the HAN encoder")
    heads: int = Field(16, ge=1, le=256, description="attention heads")
    feedforward: int = Field(2048, ge=1, le=65536, description="width of the feed-forward layers")
    project_visual: bool = Field(
        True,
        description="project visual features to the width; false: CLIP's enter the encoder as they"
        " are (released code), for which width must be their size, 768, and motion false",
    )
    labels: Literal["hard", "soft", "teacher"] = Field(
        "soft",
        description="pseudo-labels for the losses: teacher is UWAV's choice, soft labels of its"
        " temporal network",
    )
    balance: float = Field(
        0.5, ge=0, le=1, description="W of the class weights, see losses.balance_weights"
    )
    mixup: float = Field(1.7, ge=0, description="alpha of mix-up; 0: none")

    @model_validator(mode="after")
    def _check_motion(self) -> "UwavRecipe":
        if self.motion and not self.project_visual:
            raise ValueError("motion must be false if project_visual is false")
        return self
