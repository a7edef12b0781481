"""VALOR's segment losses, and what UWAV changes in them."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.parsers.recipes.base import CALIBRATED, SOFT_LABEL_TEMPERATURE, TAUGHT
from pipeline.parsers.recipes.han import HanEncoderRecipe

LossLabels = Annotated[
    Literal["hard", "soft", "teacher"],
    Field(
        description="pseudo-labels for the losses, masked with the weak labels: 0 or 1 (hard);"
        " sigmoid((logit - threshold) / temperature) as in UWAV (soft); or soft ones that must come"
        " from UWAV's temporal network, `pseudo-labels --teacher` (teacher, UWAV's choice)"
    ),
]
Balance = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="W of UWAV's class weights, W (C - f) for classes of the weak label and f for"
        " others, where f is the average number of events in a segment; UWAV: 0.5; 0: no weights",
    ),
]
Mixup = Annotated[
    float,
    Field(
        ge=0,
        description="alpha of mix-up: segments are mixed by Beta(alpha, alpha) and classified,"
        " which adds a loss per modality; UWAV: 1.7; 0: no mix-up",
    ),
]


class SegmentLossRecipe(HanEncoderRecipe):
    """Options of the segment losses of the VALOR family, LINK and UWAV.

    The defaults are VALOR's; ``labels``, ``balance`` and ``mixup`` can make them UWAV's.
    """

    labels: LossLabels = "hard"
    temperature: float = Field(
        SOFT_LABEL_TEMPERATURE,
        gt=0,
        description="divisor of soft labels: 2 in UWAV's code, 1 in eq. 12 of its paper",
    )
    balance: Balance = 0.0
    rarity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the positive segments of a class weigh (negatives / positives)^rarity, counted"
        " over training videos per modality; 0: no weights",
    )
    mixup: Mixup = 0.0
    segment_weight: float = Field(
        1.0,
        gt=0,
        description="factor on the segment losses, which are means over B, T and C; T gives the sum"
        " over t that LINK's eq. 8 prints",
    )

    @property
    def uses_soft_labels(self) -> bool:
        """Whether the pseudo-labels of the losses are soft."""
        return self.labels != "hard"

    @property
    def label_temperature(self) -> float:
        """The divisor of soft labels."""
        return self.temperature

    @property
    def draws_on_cpu(self) -> bool:
        """Mix-up draws its share and its partners there."""
        return self.mixup > 0

    @property
    def extra_supervision(self) -> str:
        """A teacher learns from dense labels, and validation's choose its thresholds."""
        return f"{TAUGHT}, {CALIBRATED}" if self.uses_teacher_labels else ""

    @property
    def uses_teacher_labels(self) -> bool:
        """Whether the pseudo-labels of the losses must be those of a teacher."""
        return self.labels == "teacher"
