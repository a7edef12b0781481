"""MM-Pyramid (Yu et al., ACM MM 2022), and the options of its encoder, which LEAP shares."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes.base import Recipe


class PyramidEncoderRecipe(Recipe):
    """Options of the multimodal pyramid encoder and of its training (released code)."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch_size: int = Field(16, ge=1, description="videos per step; the last partial batch is kept")
    optimiser: Literal["adamw", "adam"] = Field("adam", description="optimiser")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the optimiser's running mean")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of the first epochs")
    schedule: Literal["cosine", "step"] = Field("step", description="learning rate schedule")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    clip_norm: float = Field(
        0.0, ge=0, description="largest norm of the whole gradient; 0 does not clip"
    )
    ties: Literal["first", "last"] = Field(
        "last", description="which of several equally good epochs is kept"
    )
    width: int = Field(512, ge=1, le=16384, description="features d inside the pyramid")
    levels: int = Field(
        4, ge=1, le=16, description="levels of the pyramid; level i sees 2^i segments to each side"
    )
    heads: int = Field(8, ge=1, le=256, description="attention heads")
    feedforward: int = Field(512, ge=1, le=65536, description="width of the feed-forward layers")
    dropout: float = Field(
        0.2, ge=0, lt=1, description="dropout of the transformer layers and inside feed-forward"
    )
    attention_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of attention weights")

    @model_validator(mode="after")
    def _check_heads(self) -> "PyramidEncoderRecipe":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class MmPyramidRecipe(PyramidEncoderRecipe):
    """MM-Pyramid (Yu et al., ACM MM 2022, released code): weak labels only, as HAN."""

    audio_certainty: float = Field(
        1.0, ge=0, le=1, description="s of the audio video label y * s + (1 - s) / 2"
    )
    visual_certainty: float = Field(
        0.9, ge=0, le=1, description="s of the visual video label y * s + (1 - s) / 2"
    )
    swapped_modalities: bool = Field(
        False,
        description="supervise and score the visual stream as audio and the audio stream as visual,"
        " as the released code does, which stacks them in the wrong order",
    )

    @property
    def uses_pseudo_labels(self) -> bool:
        """MM-Pyramid learns from weak labels alone."""
        return False
