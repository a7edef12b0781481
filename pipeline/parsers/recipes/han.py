"""HAN (Tian et al., ECCV 2020), and the options that all methods with its encoder share."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes.base import Recipe, WeakLabelRecipe, with_whole_heads


class HanEncoderRecipe(Recipe):
    """Options of the HAN encoder; the defaults are VALOR++'s."""

    width: int = Field(256, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(4, ge=0, le=64, description="layers of the HAN encoder")
    heads: int = Field(8, ge=1, le=256, description="attention heads")
    feedforward: int = Field(1024, ge=1, le=65536, description="width of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the HAN encoder")
    order: Literal["sequential", "simultaneous"] = Field(
        "sequential",
        description="the visual stream sees the audio stream after (sequential, VALOR) or before"
        " (simultaneous, HAN) the same layer",
    )

    @model_validator(mode="after")
    def _check_heads(self) -> "HanEncoderRecipe":
        return with_whole_heads(self, "width", "heads")


class HanRecipe(WeakLabelRecipe, HanEncoderRecipe):
    """HAN (Tian et al., ECCV 2020, released code): one wide layer, no pseudo-labels."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch_size: int = Field(16, ge=1, description="videos per step; the last partial batch is kept")
    width: int = Field(512, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, le=64, description="layers of the HAN encoder")
    heads: int = Field(1, ge=1, le=256, description="attention heads")
    feedforward: int = Field(512, ge=1, le=65536, description="width of the feed-forward layers")
    order: Literal["sequential", "simultaneous"] = Field(
        "simultaneous", description="when the visual stream sees the audio stream"
    )
