"""HAN (Tian et al., ECCV 2020), and the options that all methods with its encoder share."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.parsers.recipes.base import SOFT_LABEL_TEMPERATURE, Recipe


class HanEncoderRecipe(Recipe):
    """Options of the HAN encoder and of segment losses; the defaults are VALOR++'s.

    ``balance``, ``rarity`` and ``mixup`` act on methods with VALOR's segment losses only: the VALOR
    family, LINK and UWAV.
    """

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

    labels: Literal["hard", "soft", "teacher"] = Field(
        "hard",
        description="pseudo-labels for the losses, masked with the weak labels: 0 or 1 (hard);"
        " sigmoid((logit - threshold) / temperature) as in UWAV (soft); or soft ones that must come"
        " from UWAV's temporal network, `pseudo-labels --teacher` (teacher). No effect on a method"
        " without pseudo-labels",
    )
    temperature: float = Field(
        SOFT_LABEL_TEMPERATURE,
        gt=0,
        description="divisor of soft labels: 2 in UWAV's code, 1 in eq. 12 of its paper",
    )
    balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="W of UWAV's class weights, W (C - f) for classes of the weak label and f for"
        " others, where f is the average number of events in a segment; UWAV: 0.5; 0: no weights",
    )
    rarity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the positive segments of a class weigh (negatives / positives)^rarity, counted"
        " over training videos per modality; 0: no weights",
    )
    mixup: float = Field(
        0.0,
        ge=0,
        description="alpha of mix-up: segments are mixed by Beta(alpha, alpha) and classified,"
        " which adds a loss per modality; UWAV: 1.7; 0: no mix-up",
    )
    segment_weight: float = Field(
        1.0,
        gt=0,
        description="factor on the segment losses, which are means over B, T and C; T gives the sum"
        " over t that LINK's eq. 8 prints",
    )

    @model_validator(mode="after")
    def _check_heads(self) -> "HanEncoderRecipe":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self

    @property
    def uses_soft_labels(self) -> bool:
        """Whether the pseudo-labels of the losses are soft."""
        return self.uses_pseudo_labels and self.labels != "hard"

    @property
    def label_temperature(self) -> float:
        """The divisor of soft labels."""
        return self.temperature

    @property
    def uses_teacher_labels(self) -> bool:
        """Whether the pseudo-labels of the losses must be those of a teacher."""
        return self.uses_pseudo_labels and self.labels == "teacher"


class HanRecipe(HanEncoderRecipe):
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
    width: int = Field(512, ge=1, le=16384, description="features D inside the HAN encoder")
    layers: int = Field(1, ge=0, le=64, description="layers of the HAN encoder")
    heads: int = Field(1, ge=1, le=256, description="attention heads")
    feedforward: int = Field(512, ge=1, le=65536, description="width of the feed-forward layers")
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
