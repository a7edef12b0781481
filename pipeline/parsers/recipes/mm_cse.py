"""MM-CSE (Zhao et al., AAAI 2025, arXiv 2412.11248)."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import Recipe, with_whole_heads


class MmCseRecipe(Recipe):
    """MM-CSE (Zhao et al., AAAI 2025, arXiv 2412.11248, released code).

    No training script is published: optimiser and schedule are the defaults of the released
    command line, which M2MOE, a published derivative, also trains with. The released network
    ignores its feed-forward width (1024); 512 is what it uses.
    differs: ``motion`` is off by default, as the pipeline caches no 3-D features unless they are
    configured; with ``motion: true`` the inputs are those of the paper.
    """

    learning_rate: option.LearningRate = 1e-4
    schedule: option.RateSchedule = "step"
    gate: option.DecisionGate = "mixed"

    width: option.Width = 256
    class_width: int = Field(
        128, ge=1, le=16384, description="features of a segment's class or background"
    )
    layers: int = Field(4, ge=1, le=64, description="layers of fine-grained semantic enhancement")
    heads: option.Heads = Field(8, description="heads of the attention over classes")
    feedforward: option.Feedforward = 512
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="dropout of the gates, of the visual class features, of attention"
        " probabilities and of the feed-forward layers",
    )

    reconstruction_weight: float = Field(
        0.5, ge=0, description="factor on the reconstruction of segments from their class features"
    )
    reconstruction_target: Literal["trained", "fixed"] = Field(
        "trained",
        description="whether that loss also trains the projected segment that it compares with"
        " (trained, the released code) or not (fixed)",
    )
    orthogonality_weight: float = Field(
        0.1, ge=0, description="factor on the cosines of class and background features"
    )
    visual_orthogonality: Literal["mean", "classes"] = Field(
        "mean",
        description="what is compared with the visual background: the mean of the class features"
        " (mean, the released code) or each of them, as for audio (classes)",
    )
    cooccurrence_weight: float = Field(
        0.1, ge=0, description="factor on the four event co-occurrence losses"
    )

    @model_validator(mode="after")
    def _check_heads(self) -> "MmCseRecipe":
        return with_whole_heads(self, "class_width", "heads")
