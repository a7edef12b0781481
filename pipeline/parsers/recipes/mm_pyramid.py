"""MM-Pyramid (Yu et al., ACM MM 2022), and the options of its encoder, which LEAP shares."""

from pydantic import Field, model_validator

from pipeline.parsers.recipes.base import StepRecipe, WeakLabelRecipe, with_whole_heads


class PyramidEncoderRecipe(StepRecipe):
    """Options of the multimodal pyramid encoder and of its training (released code)."""

    epochs: int = Field(40, ge=1, description="passes over the training videos")
    batch_size: int = Field(16, ge=1, description="videos per step; the last partial batch is kept")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of the first epochs")
    width: int = Field(512, ge=1, le=16384, description="features d inside the pyramid")
    levels: int = Field(
        4, ge=1, le=16, description="levels of the pyramid; level i sees 2^i segments to each side"
    )
    heads: int = Field(8, ge=1, le=256, description="attention heads")
    feedforward: int = Field(512, ge=1, le=65536, description="width of the feed-forward layers")
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
