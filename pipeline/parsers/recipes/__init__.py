"""How each method is built and trained: every choice is an option with its source.

No heavy library is imported here, so a configuration can be checked before anything runs.
"""

from pipeline.parsers.recipes.base import Recipe, Selection
from pipeline.parsers.recipes.han import HanEncoderRecipe, HanRecipe
from pipeline.parsers.recipes.leap import LeapHanRecipe, LeapRecipe
from pipeline.parsers.recipes.link import LinkRecipe, PrintedLinkRecipe
from pipeline.parsers.recipes.mm_pyramid import MmPyramidRecipe, PyramidEncoderRecipe
from pipeline.parsers.recipes.uwav import UwavRecipe
from pipeline.parsers.recipes.valor import ValorPlusPlusRecipe, ValorPlusRecipe, ValorRecipe

__all__ = [
    "HanEncoderRecipe",
    "HanRecipe",
    "LeapHanRecipe",
    "LeapRecipe",
    "LinkRecipe",
    "MmPyramidRecipe",
    "PrintedLinkRecipe",
    "PyramidEncoderRecipe",
    "Recipe",
    "Selection",
    "UwavRecipe",
    "ValorPlusPlusRecipe",
    "ValorPlusRecipe",
    "ValorRecipe",
]
