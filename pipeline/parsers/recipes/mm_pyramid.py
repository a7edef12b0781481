"""MM-Pyramid (Yu et al., ACM MM 2022), and the options of its encoder, which LEAP shares."""

from pydantic import Field, model_validator

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.base import StepRecipe, WeakLabelRecipe, with_whole_heads


class PyramidEncoderRecipe(StepRecipe):
    """Options of the multimodal pyramid encoder and of its training (released code)."""

    epochs: option.Epochs = 40
    batch_size: option.BatchSize = 16
    learning_rate: option.LearningRate = 1e-4
    width: option.Width = 512
    levels: int = Field(
        4, ge=1, le=16, description="levels of the pyramid; level i sees 2^i segments to each side"
    )
    heads: option.Heads = 8
    feedforward: option.Feedforward = 512
    dropout: float = Field(
        0.2, ge=0, lt=1, description="dropout of the transformer layers and inside feed-forward"
    )
    attention_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of attention weights")

    @model_validator(mode="after")
    def _check_heads(self) -> "PyramidEncoderRecipe":
        return with_whole_heads(self, "width", "heads")


class MmPyramidRecipe(PyramidEncoderRecipe, WeakLabelRecipe):
    """MM-Pyramid (Yu et al., ACM MM 2022, released code): weak labels only, as HAN."""

    swapped_modalities: bool = Field(
        False,
        description="supervise and score the visual stream as audio and the audio stream as visual,"
        " as the released code does, which stacks them in the wrong order",
    )
