"""CMPAE (Gao, Chen, Xu, CVPR 2023), and the options of its network, CoLeaF's anchor."""

from typing import Literal

from pydantic import Field

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import TUNED
from pipeline.parsers.recipes.denoising import DenoisingRecipe


class EvidenceRecipe(DenoisingRecipe):
    """Options of the evidence network; the defaults are CMPAE's."""

    segment_threshold: option.SegmentThreshold = 0.25
    feature_mix: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of the features with cross-modal attention; the rest are without",
    )
    pass_mix: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of the pass with cross-modal attention in a prediction; the rest is a"
        " pass without",
    )
    mutual_weight: float = Field(
        1.0, ge=0, description="factor on the mutual loss of modalities and global branch"
    )

    @property
    def keeps_frames(self) -> bool:
        """The activation after the projection acts on every frame before their mean."""
        return True


class CmpaeRecipe(EvidenceRecipe):
    """CMPAE (Gao, Chen, Xu, CVPR 2023, released code)."""

    epochs: option.Epochs = 20
    selection: option.Selection = "all"
    video_threshold: option.VideoThreshold = 0.45
    visual_weight: float = Field(0.6, ge=0, description="factor on the loss of visual labels")
    video_weight: float = Field(0.6, ge=0, description="factor on the loss of weak labels")
    visual_thresholds: Literal["search", "released", "none"] = Field(
        "search",
        description="video-level visual threshold of each class: searched on the dense labels of"
        " validation by event-level visual F1, those the authors released for LLP's 25 classes, or"
        " video_threshold for all (none)",
    )
    threshold_epoch: int = Field(
        8, ge=1, description="epoch whose weights the thresholds are searched with"
    )

    @property
    def extra_supervision(self) -> str:
        """Dense validation labels choose the thresholds of classes, also the released ones."""
        return "" if self.visual_thresholds == "none" else TUNED

    @property
    def needs_llp_classes(self) -> bool:
        """Whether released noise ratios or thresholds are used."""
        return "released" in (self.noise_ratios, self.visual_thresholds)
