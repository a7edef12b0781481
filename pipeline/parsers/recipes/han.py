"""HAN (Tian et al., ECCV 2020), and the options that all methods with its encoder share."""

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import Recipe, WeakLabelRecipe, with_whole_heads


class HanEncoderRecipe(Recipe):
    """Options of the HAN encoder; the defaults are VALOR++'s."""

    width: option.Width = 256
    layers: option.HanLayers = 4
    heads: option.Heads = 8
    feedforward: option.Feedforward = 1024
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the HAN encoder")
    order: option.Order = "sequential"

    @model_validator(mode="after")
    def _check_heads(self) -> "HanEncoderRecipe":
        return with_whole_heads(self, "width", "heads")


class HanRecipe(WeakLabelRecipe, HanEncoderRecipe):
    """HAN (Tian et al., ECCV 2020, released code): one wide layer, no pseudo-labels."""

    epochs: option.Epochs = 40
    batch_size: option.BatchSize = 16
    width: option.Width = 512
    layers: option.HanLayers = 1
    heads: option.Heads = 1
    feedforward: option.Feedforward = 512
    order: option.Order = "simultaneous"
