"""How each method is built and trained: every choice is an option with its source.

No heavy library is imported here, so a configuration can be checked before anything runs. LINK's
paper gives no optimiser, schedule, width or encoder; those of VALOR++, its baseline, are used.
"""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.core.options import Options


class Recipe(Options):
    """Options of every method; the defaults are VALOR++'s (Lai et al., NeurIPS 2023, code)."""

    epochs: int = Field(60, ge=1, description="passes over the training videos")
    batch_size: int = Field(64, ge=1, description="videos per step; the last partial batch is kept")
    optimiser: Literal["adamw", "adam"] = Field("adamw", description="optimiser")
    beta1: float = Field(0.5, ge=0, lt=1, description="decay of the optimiser's running mean")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of its running squared mean")
    learning_rate: float = Field(3e-4, gt=0, description="learning rate after warm-up")
    minimum_learning_rate: float = Field(
        3e-6, ge=0, description="learning rate of the last epoch (cosine)"
    )
    schedule: Literal["cosine", "step"] = Field(
        "cosine",
        description="cosine: linear warm-up, then half a cosine, set once per epoch; step: times"
        " 0.1 every step_epochs",
    )
    warmup_epochs: int = Field(10, ge=0, description="epochs of linear warm-up (cosine)")
    step_epochs: int = Field(10, ge=1, description="epochs between two steps (step)")
    weight_decay: float = Field(1e-3, ge=0, description="weight decay")
    decay: Literal["all", "weights"] = Field(
        "all", description="decay all parameters, or only weights with two or more axes"
    )
    clip_norm: float = Field(
        1.0, ge=0, description="largest norm of the whole gradient; 0 does not clip"
    )

    width: int = Field(256, ge=1, description="features D inside the HAN encoder")
    layers: int = Field(4, ge=0, description="layers of the HAN encoder")
    heads: int = Field(8, ge=1, description="attention heads")
    feedforward: int = Field(1024, ge=1, description="width of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the HAN encoder")
    order: Literal["sequential", "simultaneous"] = Field(
        "sequential",
        description="the visual stream sees the audio stream after (sequential, VALOR) or before"
        " (simultaneous, HAN) the same layer",
    )
    audio_input: Literal["map", "embedding"] = Field(
        "map", description="CLAP's pooled feature map (VALOR++), or its projected embedding"
    )
    motion: bool = Field(False, description="fuse 3-D features into the visual ones")

    labels: Literal["hard", "soft"] = Field(
        "hard",
        description="pseudo-labels for the losses: 0 or 1, or soft, sigmoid(logit - threshold) as"
        " in UWAV; both masked with the weak labels; no effect on a method without pseudo-labels",
    )
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of rare classes' positive segments, see losses.class_balance; 0: none,"
        " UWAV: 0.5",
    )
    segment_weight: float = Field(
        1.0,
        gt=0,
        description="factor on the segment losses, which are means over B, T and C; T gives the sum"
        " over t that LINK's eq. 8 prints",
    )

    gate: Literal["global", "modality", "mixed"] = Field(
        "global",
        description="video-level probability that lets a class count: the global one, the"
        " modality's own, or mixed (MM-CSE: global for audio, visual for visual)",
    )
    segment_threshold: float = Field(
        0.5, gt=0, lt=1, description="probability at or above which a segment counts"
    )
    video_threshold: float = Field(
        0.5, gt=0, lt=1, description="probability at or above which a video counts"
    )
    ties: Literal["first", "last"] = Field(
        "first", description="which of several equally good epochs is kept"
    )

    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="forward pass of training in float32 or bfloat16 autocast; losses, weights and"
        " validation stay float32",
    )
    compiled: bool = Field(False, description="run training through torch.compile")

    @model_validator(mode="after")
    def _check_heads(self) -> "Recipe":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
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
        """Whether the network reads unmasked pseudo-labels and the class texts."""
        return False

    @property
    def masks_training_prior(self) -> bool:
        """Whether that prior is masked with weak labels, for training videos only."""
        return False


class HanRecipe(Recipe):
    """HAN (Tian et al., ECCV 2020, released code): one wide layer, no pseudo-labels."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch_size: int = Field(16, ge=1, description="videos per step; the last partial batch is kept")
    optimiser: Literal["adamw", "adam"] = Field("adam", description="optimiser")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the optimiser's running mean")
    schedule: Literal["cosine", "step"] = Field("step", description="learning rate schedule")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    clip_norm: float = Field(
        0.0, ge=0, description="largest norm of the whole gradient; 0 does not clip"
    )
    width: int = Field(512, ge=1, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, description="layers of the HAN encoder")
    heads: int = Field(1, ge=1, description="attention heads")
    feedforward: int = Field(512, ge=1, description="width of the feed-forward layers")
    order: Literal["sequential", "simultaneous"] = Field(
        "simultaneous", description="when the visual stream sees the audio stream"
    )
    ties: Literal["first", "last"] = Field(
        "last", description="which of several equally good epochs is kept"
    )
    audio_certainty: float = Field(
        1.0, ge=0, le=1, description="s of the audio video label y * s + (1 - s) / 2"
    )
    visual_certainty: float = Field(
        0.9, ge=0, le=1, description="s of the visual video label y * s + (1 - s) / 2"
    )

    @property
    def uses_pseudo_labels(self) -> bool:
        """HAN learns from weak labels alone."""
        return False


class ValorRecipe(Recipe):
    """VALOR (Lai et al., NeurIPS 2023, released code): one wide layer.

    Its published numbers use VGGish and ResNet features; here it reads the cached features.
    """

    learning_rate: float = Field(1e-4, gt=0, description="learning rate after warm-up")
    minimum_learning_rate: float = Field(
        1e-6, ge=0, description="learning rate of the last epoch (cosine)"
    )
    width: int = Field(512, ge=1, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, description="layers of the HAN encoder")


class ValorPlusPlusRecipe(Recipe):
    """VALOR++ (Lai et al., NeurIPS 2023, released code): four narrow layers on CLAP and CLIP.

    differs: ``motion`` is off by default, as the pipeline caches no 3-D features unless they are
    configured; with ``motion: true`` it is VALOR++ as published.
    """


class LinkRecipe(Recipe):
    """LINK (arXiv 2412.20872); each choice that the paper leaves open is an option.

    differs: where measurements contradict the plainest reading of the paper, the default follows
    the measurements: ``encoder``, ``text_dropout``, ``avss_weight``. ``PrintedLinkRecipe`` is the
    paper's.
    """

    decay: Literal["all", "weights"] = Field(
        "weights", description="decay all parameters, or only weights with two or more axes"
    )
    norm: Literal["rms", "layer", "none"] = Field(
        "rms",
        description="normalisation after the projection; RMSNorm keeps the mean over features that"
        " eq. 1 pools, LayerNorm makes it zero",
    )
    encoder: Literal["before", "after", "none"] = Field(
        "before", description="position of the HAN encoder: before TSAM, after PLSIM, or none"
    )
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
    text_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of training videos whose texts of a modality are dropped",
    )
    train_prior: Literal["unmasked", "masked"] = Field(
        "unmasked",
        description="prior of training videos: unmasked, or masked with the weak labels; elsewhere"
        " it is always unmasked",
    )
    label_loss: Literal["pooled", "weak", "either", "peak", "none"] = Field(
        "pooled",
        description="L_label of eq. 10: pooled BCE(p^m, max_t y^m); weak BCE(p^m, y) with 0.9"
        " smoothing on visual; either BCE(1-(1-p^a)(1-p^v), y); peak BCE(max P, y); or none",
    )
    label_weight: float = Field(1.0, ge=0, description="factor on L_label")
    avss_target: Literal["iou", "leap"] = Field(
        "iou", description="target of L_avss (eq. 10): event IoU, or that of LEAP's code"
    )
    avss_features: Literal["encoder", "interaction"] = Field(
        "encoder", description="features whose cosines L_avss uses: the encoder's or CMIM's outputs"
    )
    avss_weight: float = Field(
        0.1, ge=0, description="factor on L_avss; 0 removes it, eq. 10 has 1"
    )
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


class PrintedLinkRecipe(LinkRecipe):
    """LINK as its equations stand: the encoder predicts events, losses are summed unweighted."""

    encoder: Literal["before", "after", "none"] = Field(
        "after", description="position of the HAN encoder: before TSAM, after PLSIM, or none"
    )
    text_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of training videos whose texts of a modality are dropped",
    )
    avss_weight: float = Field(
        1.0, ge=0, description="factor on L_avss; 0 removes it, eq. 10 has 1"
    )
