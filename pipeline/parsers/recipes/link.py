"""LINK (arXiv 2412.20872).

Its paper gives no optimiser, schedule, width or encoder; those of VALOR++, its baseline, are used.
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.segment_losses import Mixup, SegmentLossRecipe

Norm = Annotated[
    Literal["rms", "layer", "none"],
    Field(
        description="normalisation after the projection; RMSNorm keeps the mean over features that"
        " eq. 1 pools, LayerNorm makes it zero"
    ),
]
EncoderPosition = Annotated[
    Literal["before", "after", "none"],
    Field(description="position of the HAN encoder: before TSAM, after PLSIM, or none"),
]
TextDropout = Annotated[
    float,
    Field(ge=0, lt=1, description="share of training videos whose texts of a modality are dropped"),
]
LabelLoss = Annotated[
    Literal["pooled", "weak", "either", "peak", "none"],
    Field(
        description="L_label of eq. 10: pooled BCE(p^m, max_t y^m); weak BCE(p^m, y) with 0.9"
        " smoothing on visual; either BCE(1-(1-p^a)(1-p^v), y), which needs no tight"
        " pseudo-labels; peak BCE(max P, y); or none"
    ),
]
AvssWeight = Annotated[
    float, Field(ge=0, description="factor on L_avss; 0 removes it, eq. 10 has 1")
]


class LinkRecipe(SegmentLossRecipe):
    """LINK (arXiv 2412.20872); each choice that the paper leaves open is an option.

    differs: where measurements contradict the plainest reading of the paper, the default follows
    the measurements: ``encoder``, ``text_dropout``, ``avss_weight``. ``PrintedLinkRecipe`` is the
    paper's.
    """

    decay: option.Decay = "weights"
    norm: Norm = "rms"
    encoder: EncoderPosition = "before"
    tsam: bool = Field(True, description="temporal-spatial attention module (eqs. 1-3)")
    tsam_reading: Literal["A", "B"] = Field(
        "A", description="A weighs segments, then features; B (CBAM) features, then segments"
    )
    tsam_spatial: Literal["conv", "mean"] = Field(
        "conv",
        description="eq. 2 omits the convolution: one of kernel 7, or the mean of both rows",
    )
    tsam_residual: bool = Field(False, description="add TSAM's input to its output")
    cmim: bool = Field(True, description="cross-modal interaction module (eqs. 4-6)")
    cmim_alpha: float = Field(0.0, description="initial value of alpha")
    cmim_beta: float = Field(1.0, description="initial value of beta")
    cmim_gates: Literal["scalar", "channel"] = Field(
        "scalar", description="one gate for all features, or one per feature"
    )
    cmim_trainable: bool = Field(True, description="train alpha and beta")
    cmim_scaled: bool = Field(
        False, description="divide the attention logits by sqrt(d); the paper does not"
    )
    cmim_residual: Literal["double", "single"] = Field(
        "double", description="add the input twice (eq. 6 as printed) or once"
    )
    plsim: bool = Field(True, description="pseudo-label semantic interaction module (eqs. 13-17)")
    null_text: Literal["identity", "learned"] = Field(
        "identity", description="a segment without events: unchanged, or a learned text"
    )
    text_pooling: Literal["mean", "max"] = Field(
        "mean", description="texts of several events in one segment: their mean or maximum"
    )
    text_dropout: TextDropout = 0.5
    train_prior: Literal["unmasked", "masked"] = Field(
        "unmasked",
        description="prior of training videos: unmasked, or masked with the weak labels; elsewhere"
        " it is always unmasked",
    )
    label_loss: LabelLoss = "pooled"
    label_weight: float = Field(1.0, ge=0, description="factor on L_label")
    avss_target: Literal["iou", "leap"] = Field(
        "iou", description="target of L_avss (eq. 10): event IoU, or that of LEAP's code"
    )
    avss_features: Literal["encoder", "interaction"] = Field(
        "encoder", description="features whose cosines L_avss uses: the encoder's or CMIM's outputs"
    )
    avss_weight: AvssWeight = 0.1
    reweighting: Literal["pair", "video", "none"] = Field(
        "pair", description="lambda of eq. 11 per segment pair, per video, or none (lambda = 1)"
    )
    mu_initial: float = Field(
        0.0,
        description="initial value of mu; its gradient always drives it to 1, where lambda = 1",
    )
    mu_trainable: bool = Field(True, description="train mu")

    @property
    def uses_prior(self) -> bool:
        """Whether PLSIM, which reads the prior, is on."""
        return self.plsim

    @property
    def masks_training_prior(self) -> bool:
        """Whether the training prior is masked; the paper leaves it open."""
        return self.train_prior == "masked"


class LinkPlusRecipe(LinkRecipe):
    """LINK with what measurements in simulated worlds support of MUG and UWAV (our own).

    Source: ``recombined`` is MUG's (ICCV 2025), ``mixup`` UWAV's (CVPR 2025); see
    docs/explanation/link-study.md.
    """

    recombined: option.Recombined = 1.0
    mixup: Mixup = 1.7
    norm: Norm = Field(
        "none", description="normalisation after the projection; none measured better than rms"
    )
    label_loss: LabelLoss = "either"


class PrintedLinkRecipe(LinkRecipe):
    """LINK as its equations stand: the encoder predicts events, losses are summed unweighted."""

    encoder: EncoderPosition = "after"
    text_dropout: TextDropout = 0.0
    avss_weight: AvssWeight = 1.0
