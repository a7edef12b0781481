"""Options of UWAV's temporal label network; loads no heavy library."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.core.options import Options

# Raise it whenever the same options on the same data may train to another teacher.
TEACHER_VERSION = 1


class TeacherOptions(Options):
    """The temporal label network and its training (UWAV; Lai et al., CVPR 2025, released code)."""

    width: int = Field(1024, ge=1, le=16384, description="features of the transformers")
    hidden: int = Field(2048, ge=1, le=65536, description="hidden width of the input MLPs")
    layers: int = Field(5, ge=1, le=64, description="layers of each modality's transformer")
    heads: int = Field(16, ge=1, le=256, description="attention heads")
    feedforward: int = Field(2048, ge=1, le=65536, description="width of the feed-forward layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout of the transformers")
    audio_scale: float = Field(
        3.2912, gt=0, description="factor on audio products with class texts, not trained"
    )
    visual_scale: float = Field(
        4.6052, gt=0, description="factor on visual products with class texts, not trained"
    )
    positive_weight: float = Field(
        5.0, gt=0, description="weight of the loss of a class that occurs anywhere in the video"
    )

    epochs: int = Field(80, ge=1, description="passes over the training videos")
    batch_size: int = Field(64, ge=1, description="videos per step; the last partial batch is kept")
    beta1: float = Field(0.5, ge=0, lt=1, description="decay of the optimiser's running mean")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of its running squared mean")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate after warm-up")
    minimum_learning_rate: float = Field(
        1e-5, ge=0, description="learning rate of the last epoch (cosine)"
    )
    warmup_epochs: int = Field(10, ge=0, description="epochs of linear warm-up")
    weight_decay: float = Field(1e-3, ge=0, description="weight decay of AdamW")
    clip_norm: float = Field(
        2.0, ge=0, description="largest norm of the gradient; 1 in the paper; 0 does not clip"
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, description="probability from which validation counts a class"
    )

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self
