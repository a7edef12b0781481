"""How each method is built and trained: every choice by name, with its source.

No heavy library is imported here, so a config file can be checked before anything runs. LINK's
paper gives no optimiser, schedule, width or encoder: those of VALOR++, its baseline, are taken.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """What every method has; the defaults are VALOR++'s (Lai et al., NeurIPS 2023, code).

    Attributes
    ----------
    epochs, batch_size
        Passes over the training videos; videos a step, the last partial batch kept.
    optimiser, beta1, beta2
        AdamW or Adam and the decay of their two running means.
    learning_rate, minimum_learning_rate
        Of the first epoch after warm-up and of the last; ``step`` uses only the first.
    schedule
        ``cosine``: linear warm-up, then half a cosine, set once an epoch; ``step``: times 0.1
        every ``step_epochs``.
    weight_decay, decay
        The decay, and whether it is for ``all`` parameters or for ``weights`` of two or more axes.
    clip_norm
        Largest norm of the whole gradient; 0 is no clipping.
    width, layers, heads, feedforward, dropout
        Of the HAN encoder.
    order
        Whether the visual stream sees the audio stream before (``simultaneous``, HAN) or after
        (``sequential``, VALOR) the same layer.
    audio_input
        CLAP's pooled feature ``map`` (VALOR++) or its projected ``embedding``.
    motion
        Whether 3-D features are fused into the visual ones.
    labels
        Pseudo-labels that losses see: ``hard`` 0 or 1, or ``soft`` σ(logit - threshold), UWAV's;
        either masked with the weak labels. Without effect on a method that uses none.
    balance
        How strongly rare classes' positive segments are weighted up, see
        ``losses.class_balance``; 0 is not at all, UWAV has 0.5.
    segment_weight
        Of the segment losses, means over B, T and C; T is the sum over t that LINK's eq. 8 prints.
        Without effect on a method that has none.
    gate
        A class counts in a video when its ``global`` probability does, or its ``modality``'s own;
        ``mixed`` is MM-CSE's, the global one for audio and the visual one for visual.
    segment_threshold, video_threshold
        Probabilities from which (>=) a segment and a video count.
    ties
        Which of several equally good epochs is kept.
    precision, compiled
        Whether training's forward pass runs in bfloat16 where torch's autocast allows it (``bf16``;
        losses, weights and validation stay float32), and whether torch compiles it. Both are off,
        for the papers' numbers are of neither; docs/explanation/measurements.md has the gain.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(60, ge=1)
    batch_size: int = Field(64, ge=1)
    optimiser: Literal["adamw", "adam"] = "adamw"
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    learning_rate: float = Field(3e-4, gt=0)
    minimum_learning_rate: float = Field(3e-6, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = Field(10, ge=0)
    step_epochs: int = Field(10, ge=1)
    weight_decay: float = Field(1e-3, ge=0)
    decay: Literal["all", "weights"] = "all"
    clip_norm: float = Field(1.0, ge=0)

    width: int = Field(256, ge=1)
    layers: int = Field(4, ge=0)
    heads: int = Field(8, ge=1)
    feedforward: int = Field(1024, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    order: Literal["sequential", "simultaneous"] = "sequential"
    audio_input: Literal["map", "embedding"] = "map"
    motion: bool = False

    labels: Literal["hard", "soft"] = "hard"
    balance: float = Field(0.0, ge=0, le=1)
    segment_weight: float = Field(1.0, gt=0)

    gate: Literal["global", "modality", "mixed"] = "global"
    segment_threshold: float = Field(0.5, gt=0, lt=1)
    video_threshold: float = Field(0.5, gt=0, lt=1)
    ties: Literal["first", "last"] = "first"

    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    @property
    def uses_pseudo_labels(self) -> bool:
        """Whether the loss needs segment pseudo-labels."""
        return True

    @property
    def uses_soft_labels(self) -> bool:
        """Whether those are soft."""
        return self.uses_pseudo_labels and self.labels == "soft"

    @property
    def uses_prior(self) -> bool:
        """Whether the network is given unmasked pseudo-labels and the class texts."""
        return False

    @property
    def masks_training_prior(self) -> bool:
        """Whether that prior is masked with weak labels, for training videos only."""
        return False


class HanRecipe(Recipe):
    """HAN (Tian et al., ECCV 2020, code): one wide layer, no pseudo-labels.

    Attributes
    ----------
    audio_certainty, visual_certainty
        The modality's video label is ``y * s + (1 - s) / 2``.
    """

    epochs: int = Field(40, ge=1)
    batch_size: int = Field(16, ge=1)
    optimiser: Literal["adamw", "adam"] = "adam"
    beta1: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["cosine", "step"] = "step"
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(0.0, ge=0)
    width: int = Field(512, ge=1)
    layers: int = Field(1, ge=0)
    heads: int = Field(1, ge=1)
    feedforward: int = Field(512, ge=1)
    order: Literal["sequential", "simultaneous"] = "simultaneous"
    ties: Literal["first", "last"] = "last"
    audio_certainty: float = Field(1.0, ge=0, le=1)
    visual_certainty: float = Field(0.9, ge=0, le=1)

    @property
    def uses_pseudo_labels(self) -> bool:
        """HAN learns from weak labels alone."""
        return False


class ValorRecipe(Recipe):
    """VALOR (Lai et al., NeurIPS 2023, code): one wide layer.

    Its published numbers are on VGGish and ResNet features; here it reads the cached ones.
    """

    learning_rate: float = Field(1e-4, gt=0)
    minimum_learning_rate: float = Field(1e-6, ge=0)
    width: int = Field(512, ge=1)
    layers: int = Field(1, ge=0)


class ValorPlusPlusRecipe(Recipe):
    """VALOR++ (Lai et al., NeurIPS 2023, code): four narrow layers on CLAP and CLIP features.

    differs: ``motion`` is off by default, as the pipeline caches no 3-D features; on is VALOR++ as
    published.
    """


class LinkRecipe(Recipe):
    """LINK (arXiv 2412.20872), each choice the paper leaves open by name.

    differs: where measurements (docs/explanation/link-study.md) speak against the plainest reading
    of the paper, the default is theirs: ``encoder``, ``text_dropout``, ``avss_weight``.
    ``PrintedLinkRecipe`` is the paper's.

    Attributes
    ----------
    norm
        After the projection. RMSNorm keeps the mean over features, which eq. 1 pools; LayerNorm
        makes it zero.
    encoder
        Where the HAN encoder stands: ``before`` TSAM, ``after`` PLSIM, or ``none``.
    tsam, tsam_reading, tsam_spatial, tsam_residual
        Eqs. 1-3. Reading ``A`` weighs segments, then features; ``B`` (CBAM) features, then
        segments. Eq. 2's missing convolution: ``conv`` of kernel 7, or the ``mean`` of both rows.
        ``tsam_residual`` adds the input.
    cmim, cmim_alpha, cmim_beta, cmim_gates, cmim_trainable, cmim_scaled, cmim_residual
        Eqs. 4-6. Start values of α and β, one gate for all features or one per ``channel``,
        whether they are trained, whether the logits are divided by √d (the paper does not), and
        whether the input is added twice (``double``, eq. 6 as printed) or once.
    plsim, null_text, text_pooling, text_dropout, train_prior
        Eqs. 13-17. A segment without event changes nothing (``identity``) or has a ``learned``
        text. Several events: ``mean`` or ``max`` of their texts, normalised. The share of training
        videos whose text of a modality is dropped whole. Whether the training prior is
        ``unmasked`` or ``masked`` with the weak labels; elsewhere it is always unmasked.
    label_loss, label_weight
        Eq. 10's L_label: ``pooled`` BCE(p^m, max_t ŷ^m); ``weak`` BCE(p^m, y) with 0.9 smoothing on
        visual; ``either`` BCE(1-(1-p^a)(1-p^v), y); ``peak`` BCE(max P, y); or ``none``.
    avss_target, avss_features, avss_weight
        Eq. 10's L_avss: event IoU (``iou``) or the target of LEAP's code (``leap``); cosines of
        the encoder's outputs or of CMIM's (``interaction``). Weight 0 leaves it out; eq. 10 has 1.
    reweighting, mu_initial, mu_trainable
        Eq. 11's λ per segment ``pair``, per ``video``, or ``none`` (λ = 1). The gradient always
        drives μ to 1, where λ = 1, so its start matters more than its training.
    """

    decay: Literal["all", "weights"] = "weights"
    norm: Literal["rms", "layer", "none"] = "rms"
    encoder: Literal["before", "after", "none"] = "before"
    tsam: bool = True
    tsam_reading: Literal["A", "B"] = "A"
    tsam_spatial: Literal["conv", "mean"] = "conv"
    tsam_residual: bool = False
    cmim: bool = True
    cmim_alpha: float = 0.0
    cmim_beta: float = 1.0
    cmim_gates: Literal["scalar", "channel"] = "scalar"
    cmim_trainable: bool = True
    cmim_scaled: bool = False
    cmim_residual: Literal["double", "single"] = "double"
    plsim: bool = True
    null_text: Literal["identity", "learned"] = "identity"
    text_pooling: Literal["mean", "max"] = "mean"
    text_dropout: float = Field(0.5, ge=0, lt=1)
    train_prior: Literal["unmasked", "masked"] = "unmasked"
    label_loss: Literal["pooled", "weak", "either", "peak", "none"] = "pooled"
    label_weight: float = Field(1.0, ge=0)
    avss_target: Literal["iou", "leap"] = "iou"
    avss_features: Literal["encoder", "interaction"] = "encoder"
    avss_weight: float = Field(0.1, ge=0)
    reweighting: Literal["pair", "video", "none"] = "pair"
    mu_initial: float = 0.0
    mu_trainable: bool = True

    @property
    def uses_prior(self) -> bool:
        """PLSIM is what reads the prior."""
        return self.plsim

    @property
    def masks_training_prior(self) -> bool:
        """The paper unmasks "for testing purposes", which leaves training open."""
        return self.train_prior == "masked"


class PrintedLinkRecipe(LinkRecipe):
    """LINK as its equations stand: the encoder predicts events, losses are summed unweighted."""

    encoder: Literal["before", "after", "none"] = "after"
    text_dropout: float = Field(0.0, ge=0, lt=1)
    avss_weight: float = Field(1.0, ge=0)
