"""Options of every method: optimisation, inputs, decision and precision."""

from typing import Literal, TypeVar

from pydantic import Field, model_validator

from pipeline.core.options import Options
from pipeline.parsers.recipes import option_types as option

# What UWAV's code divides ``logit - threshold`` by before the sigmoid; cached soft labels have it.
SOFT_LABEL_TEMPERATURE = 2.0

# Dense labels that a method may use in addition to weak labels, as the result tables name them.
TUNED = "thresholds from validation's dense labels"
CALIBRATED = f"pseudo-label {TUNED}"
TAUGHT = "the teacher's dense labels"


class Recipe(Options):
    """Options of every method; the defaults are VALOR++'s (Lai et al., NeurIPS 2023, code)."""

    epochs: option.Epochs = 60
    batch_size: option.BatchSize = 64
    optimiser: option.Optimiser = "adamw"
    beta1: option.Beta1 = 0.5
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of its running squared mean")
    learning_rate: option.LearningRate = 3e-4
    minimum_learning_rate: option.MinimumLearningRate = 3e-6
    schedule: option.RateSchedule = "cosine"
    warmup_epochs: int = Field(10, ge=0, description="epochs of linear warm-up (cosine)")
    step_epochs: option.StepEpochs = 10
    step_factor: option.StepFactor = 0.1
    weight_decay: option.WeightDecay = 1e-3
    decay: option.Decay = "all"
    clip_norm: option.ClipNorm = 1.0

    audio_input: option.AudioInput = "map"
    motion: bool = Field(False, description="fuse 3-D features into the visual ones")
    recombined: option.Recombined = 0.0

    gate: option.DecisionGate = "global"
    segment_threshold: option.SegmentThreshold = 0.5
    video_threshold: option.VideoThreshold = 0.5
    selection: option.Selection = "segment_type"
    ties: option.Ties = "first"

    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="of training steps: fp32; tf32, which only a GPU's matrix products and"
        " convolutions use; or bf16, by autocast of the forward pass; validation is in fp32",
    )
    compiled: bool = Field(False, description="run training through torch.compile")

    @model_validator(mode="after")
    def _check_recombined(self) -> "Recipe":
        if self.recombined and not self.uses_pseudo_labels:
            raise ValueError(
                f"recombined is {self.recombined:g}; it must be 0, because this method does not use"
                " pseudo-labels, from which recombined videos get theirs"
            )
        return self

    @property
    def uses_pseudo_labels(self) -> bool:
        """Whether the loss needs segment pseudo-labels."""
        return True

    @property
    def draws_on_cpu(self) -> bool:
        """Whether the loss draws random numbers on the CPU."""
        return False

    @property
    def supervision(self) -> str:
        """Labels of the training videos that the method learns from, in a few words."""
        return "weak labels, segment pseudo-labels" if self.uses_pseudo_labels else "weak labels"

    @property
    def extra_supervision(self) -> str:
        """Further dense labels or other data that it uses, in a few words, such as ``TUNED``."""
        return ""

    @property
    def selections(self) -> tuple[option.Selection, ...]:
        """Validation metrics that choose its epochs; several if it trains several networks."""
        return (self.selection,)

    @property
    def uses_soft_labels(self) -> bool:
        """Whether the segment pseudo-labels are soft."""
        return False

    @property
    def label_temperature(self) -> float:
        """The divisor d of soft labels, sigmoid((logit - threshold) / d)."""
        return SOFT_LABEL_TEMPERATURE

    @property
    def uses_teacher_labels(self) -> bool:
        """Whether the pseudo-labels of the losses must be those of a teacher."""
        return False

    @property
    def uses_prior(self) -> bool:
        """Whether the network reads unmasked pseudo-labels (and the class texts)."""
        return False

    @property
    def uses_texts(self) -> bool:
        """Whether the network reads the class texts."""
        return self.uses_prior

    @property
    def uses_word_vectors(self) -> bool:
        """Whether the class texts are word vectors given with the features, not an encoder's."""
        return False

    @property
    def keeps_frames(self) -> bool:
        """Whether the network reads every frame of HAN's features rather than their mean."""
        return False

    @property
    def needs_llp_classes(self) -> bool:
        """Whether it holds numbers for LLP's classes, so that the vocabulary must be LLP's."""
        return False

    @property
    def masks_training_prior(self) -> bool:
        """Whether that prior is masked with weak labels, for training videos only."""
        return False


class StepRecipe(Recipe):
    """Optimisation of HAN's code and of most that builds on it: plain Adam, rates in steps."""

    optimiser: option.Optimiser = "adam"
    beta1: option.Beta1 = 0.9
    schedule: option.RateSchedule = "step"
    weight_decay: option.WeightDecay = 0.0
    clip_norm: option.ClipNorm = 0.0
    ties: option.Ties = "last"


class WeakLabelRecipe(StepRecipe):
    """HAN's loss: weak labels supervise each modality, and no pseudo-labels are used."""

    audio_certainty: float = Field(
        1.0, ge=0, le=1, description="s of the audio video label y * s + (1 - s) / 2"
    )
    visual_certainty: float = Field(
        0.9, ge=0, le=1, description="s of the visual video label y * s + (1 - s) / 2"
    )

    @property
    def uses_pseudo_labels(self) -> bool:
        """Weak labels alone."""
        return False


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def with_whole_heads(recipe: AnyRecipe, width: str, heads: str) -> AnyRecipe:
    """Return a recipe whose option ``width`` is a multiple of its option ``heads``.

    Raises
    ------
    ValueError
        It is not.
    """
    sizes = getattr(recipe, width), getattr(recipe, heads)
    if sizes[0] % sizes[1]:
        raise ValueError(f"{width} {sizes[0]} must be a multiple of {heads} {sizes[1]}")
    return recipe
