"""JoMoLD (Cheng et al., ECCV 2022)."""

from pydantic import Field

from pipeline.parsers.recipes.base import Selection
from pipeline.parsers.recipes.denoising import DenoisingRecipe


class JomoldRecipe(DenoisingRecipe):
    """JoMoLD (Cheng et al., ECCV 2022, released code): HAN trained on denoised weak labels."""

    epochs: int = Field(25, ge=1, description="passes over the training videos")
    selection: Selection = Field(
        "event_audio", description="validation metric that chooses the epoch"
    )
