"""How each method is built and trained: every choice is an option with its source.

No heavy library is imported here, so a configuration can be checked before anything runs.
"""

from pipeline.parsers.recipes.base import Recipe
from pipeline.parsers.recipes.cmpae import CmpaeRecipe, EvidenceRecipe
from pipeline.parsers.recipes.coleaf import CoLeafPlusRecipe, CoLeafRecipe
from pipeline.parsers.recipes.denoising import DenoisingRecipe
from pipeline.parsers.recipes.dgsct import DgsctTemporalRecipe
from pipeline.parsers.recipes.han import HanEncoderRecipe, HanRecipe
from pipeline.parsers.recipes.jomold import JomoldRecipe
from pipeline.parsers.recipes.leap import LeapHanRecipe, LeapRecipe
from pipeline.parsers.recipes.link import LinkPlusRecipe, LinkRecipe, PrintedLinkRecipe
from pipeline.parsers.recipes.mgn import MgnRecipe
from pipeline.parsers.recipes.mm_cse import MmCseRecipe
from pipeline.parsers.recipes.mm_pyramid import MmPyramidRecipe, PyramidEncoderRecipe
from pipeline.parsers.recipes.nrep import NrepRecipe
from pipeline.parsers.recipes.option_types import Selection
from pipeline.parsers.recipes.segment_losses import SegmentLossRecipe
from pipeline.parsers.recipes.uwav import UwavRecipe
from pipeline.parsers.recipes.valor import ValorPlusPlusRecipe, ValorPlusRecipe, ValorRecipe

__all__ = [
    "CmpaeRecipe",
    "CoLeafPlusRecipe",
    "CoLeafRecipe",
    "DenoisingRecipe",
    "DgsctTemporalRecipe",
    "EvidenceRecipe",
    "HanEncoderRecipe",
    "HanRecipe",
    "JomoldRecipe",
    "LeapHanRecipe",
    "LeapRecipe",
    "LinkPlusRecipe",
    "LinkRecipe",
    "MgnRecipe",
    "MmCseRecipe",
    "MmPyramidRecipe",
    "NrepRecipe",
    "PrintedLinkRecipe",
    "PyramidEncoderRecipe",
    "Recipe",
    "SegmentLossRecipe",
    "Selection",
    "UwavRecipe",
    "ValorPlusPlusRecipe",
    "ValorPlusRecipe",
    "ValorRecipe",
]
