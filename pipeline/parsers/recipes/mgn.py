"""MGN (Mo & Tian, NeurIPS 2022)."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import WeakLabelRecipe, with_whole_heads


class MgnRecipe(WeakLabelRecipe):
    """MGN (Mo & Tian, NeurIPS 2022, released code): class-aware grouping, no pseudo-labels."""

    epochs: option.Epochs = 40
    batch_size: option.BatchSize = 16

    width: int = Field(128, ge=2, description="features of segments and class tokens")
    heads: int = Field(8, ge=1, description="attention heads")
    audio_depth: int = Field(3, ge=0, description="attention blocks before audio is grouped")
    visual_depth: int = Field(3, ge=0, description="attention blocks before pictures are grouped")
    cross_depth: int = Field(
        6, ge=0, description="attention blocks before the modalities are grouped"
    )
    drop_path: float = Field(
        0.1, ge=0, lt=1, description="share of videos that skip a branch of an attention block"
    )
    unimodal_assignment: Literal["soft", "hard"] = Field(
        "soft",
        description="how each modality's segments join its classes; the step before it, which"
        " regroups audio segments by pictures, does the opposite, as in the released code; hard is"
        " an arg-max, with Gumbel noise in training",
    )
    crossmodal_assignment: Literal["soft", "hard"] = Field(
        "soft", description="how audio classes join visual classes"
    )
    soft_average: Literal["assignment", "map"] = Field(
        "assignment",
        description="weights of a soft group's average: the softmax over groups, or the map"
        " 1 + softmax over segments that segment probabilities use (one version of the released"
        " code, d6de1e4)",
    )

    @model_validator(mode="after")
    def _check_heads(self) -> "MgnRecipe":
        return with_whole_heads(self, "width", "heads")
