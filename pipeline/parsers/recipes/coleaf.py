"""CoLeaF and CoLeaF+ (Sardari et al., ECCV 2024)."""

from typing import Literal

from pydantic import Field

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.cmpae import EvidenceRecipe


class CoLeafRecipe(EvidenceRecipe):
    """CoLeaF (Sardari et al., ECCV 2024, released code): CMPAE's network, taught by two others."""

    epochs: option.Epochs = 10
    selection: option.Selection = "only"
    video_threshold: option.VideoThreshold = 0.52
    video_weight: float = Field(2.0, ge=0, description="factor on the loss of weak labels")

    reference_dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout of the reference networks before their heads"
    )
    reference_epochs: int = Field(
        3,
        ge=0,
        description="epochs in which the references learn from labels alone; afterwards they also"
        " learn the labels that the anchor agrees with",
    )
    guided_from: int = Field(
        2, ge=1, description="first epoch in which the anchor learns from the references"
    )
    relation_weight: float = Field(
        1e-4, ge=0, description="factor on the cross-class losses of both modalities"
    )
    relation_sum: Literal["times_batch", "mean"] = Field(
        "times_batch",
        description="cross-class losses of a batch: their sum times the batch size, as the released"
        " code has it by the order of its operators, or their mean",
    )
    audio_contrast_weight: float = Field(
        0.009, ge=0, description="factor on the contrastive loss of audio reference and anchor"
    )
    visual_contrast_weight: float = Field(
        1.0, ge=0, description="factor on the contrastive loss of visual reference and anchor"
    )


class CoLeafPlusRecipe(CoLeafRecipe):
    """CoLeaF+: CoLeaF with segment pseudo-labels (Sardari et al., ECCV 2024).

    differs: the released code has no such variant. ``pseudo_labels`` chooses one of three readings
    of "with pseudo-labels".
    """

    pseudo_labels: Literal["video", "segment", "both"] = Field(
        "video",
        description="video: a modality's labels are the weak labels with a pseudo-label in any"
        " segment; segment: pseudo-labels supervise the anchor's segments, as in VALOR; or both",
    )
    segment_weight: float = Field(
        1.0, gt=0, description="factor on the losses of segments, if pseudo-labels supervise them"
    )

    @property
    def uses_pseudo_labels(self) -> bool:
        """CoLeaF+ needs segment pseudo-labels."""
        return True
