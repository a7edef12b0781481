"""JoMoLD (Cheng et al., ECCV 2022)."""

from pipeline.parsers.recipes import option_types as option
from pipeline.parsers.recipes.denoising import DenoisingRecipe


class JomoldRecipe(DenoisingRecipe):
    """JoMoLD (Cheng et al., ECCV 2022, released code): HAN trained on denoised weak labels."""

    epochs: option.Epochs = 25
    selection: option.Selection = "event_audio"
