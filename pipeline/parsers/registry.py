"""The methods by name: display name, recipe and network."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import PipelineError, one_of
from pipeline.core.validation import validated
from pipeline.parsers.recipes import (
    CmpaeRecipe,
    CoLeafPlusRecipe,
    CoLeafRecipe,
    DgsctTemporalRecipe,
    HanRecipe,
    JomoldRecipe,
    LeapHanRecipe,
    LeapRecipe,
    LinkPlusRecipe,
    LinkRecipe,
    MgnRecipe,
    MmCseRecipe,
    MmPyramidRecipe,
    NrepRecipe,
    PrintedLinkRecipe,
    Recipe,
    UwavRecipe,
    ValorPlusPlusRecipe,
    ValorPlusRecipe,
    ValorRecipe,
)

if TYPE_CHECKING:
    from pipeline.parsers.interface import Dimensions, ParserNetwork
    from pipeline.parsers.plan import TrainingPlan


# Raise it whenever the same recipe on the same features may train to another parser.
PARSERS_VERSION = 5


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes
    ----------
    display_name
        Name in tables and plots.
    recipe
        Its options, a pydantic model.
    network
        Its parser class, ``module:Class``; imported when it is built, as torch is slow to load.
    plan
        How it trains, a ``TrainingPlan`` class, in the same form.
    """

    display_name: str
    recipe: type[Recipe]
    network: str
    plan: str = "pipeline.parsers.plan:SingleNetwork"


METHODS: dict[str, Method] = {
    "han": Method("HAN", HanRecipe, "pipeline.parsers.han:Han"),
    "mm_pyramid": Method("MM-Pyramid", MmPyramidRecipe, "pipeline.parsers.mm_pyramid:MmPyramid"),
    "mgn": Method("MGN", MgnRecipe, "pipeline.parsers.mgn:Mgn"),
    "jomold": Method(
        "JoMoLD",
        JomoldRecipe,
        "pipeline.parsers.jomold:Jomold",
        "pipeline.parsers.denoising_plan:DenoisingPlan",
    ),
    "cmpae": Method(
        "CMPAE", CmpaeRecipe, "pipeline.parsers.cmpae:Cmpae", "pipeline.parsers.cmpae:CmpaePlan"
    ),
    "dgsct_temporal": Method(
        "DG-SCT, temporal part", DgsctTemporalRecipe, "pipeline.parsers.dgsct:DgsctTemporal"
    ),
    "valor": Method("VALOR", ValorRecipe, "pipeline.parsers.valor:Valor"),
    "valor_plus": Method("VALOR+", ValorPlusRecipe, "pipeline.parsers.valor:Valor"),
    "valorpp": Method("VALOR++", ValorPlusPlusRecipe, "pipeline.parsers.valor:Valor"),
    "leap_han": Method("LEAP (HAN)", LeapHanRecipe, "pipeline.parsers.leap:Leap"),
    "leap": Method("LEAP", LeapRecipe, "pipeline.parsers.leap:Leap"),
    "coleaf": Method(
        "CoLeaF",
        CoLeafRecipe,
        "pipeline.parsers.coleaf:CoLeaf",
        "pipeline.parsers.coleaf_plan:CoLeafPlan",
    ),
    "coleaf_plus": Method(
        "CoLeaF+",
        CoLeafPlusRecipe,
        "pipeline.parsers.coleaf:CoLeaf",
        "pipeline.parsers.coleaf_plan:CoLeafPlusPlan",
    ),
    "mm_cse": Method("MM-CSE", MmCseRecipe, "pipeline.parsers.mm_cse:MmCse"),
    "nrep": Method(
        "NREP", NrepRecipe, "pipeline.parsers.nrep:Nrep", "pipeline.parsers.nrep:NrepPlan"
    ),
    "link": Method("LINK", LinkRecipe, "pipeline.parsers.link:Link"),
    "link_printed": Method("LINK, as printed", PrintedLinkRecipe, "pipeline.parsers.link:Link"),
    "link_plus": Method("LINK+", LinkPlusRecipe, "pipeline.parsers.link:Link"),
    "uwav": Method("UWAV", UwavRecipe, "pipeline.parsers.uwav:Uwav"),
}


# Options that decide what a trained parser predicts, and nothing of its training.
DECISIONS = ("segment_threshold", "video_threshold")
# Beside a checkpoint: the thresholds that it predicts with, in place of those in its header.
THRESHOLDS_FILE = "thresholds.json"


def method_named(name: str) -> Method:
    """Return a method.

    Raises
    ------
    PipelineError
        There is no such method.
    """
    if name not in METHODS:
        raise PipelineError(f"'{name}' is not a method; it {one_of(name, METHODS)}.")
    return METHODS[name]


def recipe_for(name: str, options: Mapping[str, object]) -> Recipe:
    """Return a method's recipe with some options changed.

    Values may be strings, as from a command line.

    Raises
    ------
    PipelineError
        The method or an option is unknown, or a value is not allowed.
    """
    return validated(method_named(name).recipe, options, f"option of {name}")


def decided_recipe(name: str, recipe: Recipe, options: Mapping[str, object]) -> Recipe:
    """Return a trained parser's recipe with other thresholds.

    Raises
    ------
    PipelineError
        An option decides more than what a prediction counts, or a value is not allowed.
    """
    for key in options:
        if key not in DECISIONS:
            raise PipelineError(
                f"option of {name} '{key}' must be one of {', '.join(DECISIONS)} to predict with;"
                " train again to change others."
            )
    return recipe_for(name, {**recipe.model_dump(), **options})


def decisions(recipe: Recipe) -> dict[str, float]:
    """Return the thresholds that a parser predicts with, by option."""
    return {key: getattr(recipe, key) for key in DECISIONS}


def saved_recipe(path: Path, name: str, options: Mapping[str, object]) -> Recipe:
    """Return the recipe in a checkpoint's header, with the thresholds of the last prediction.

    Raises
    ------
    PipelineError
        Its method or an option no longer exists, or a value is no longer allowed.
    """
    try:
        recipe = recipe_for(name, options)
    except PipelineError as error:
        reason = str(error).partition(";")[0]
        raise PipelineError(
            f"'{path}' was written by another version of the pipeline ({reason}); train again."
        ) from None
    thresholds = path.parent / THRESHOLDS_FILE
    if not thresholds.is_file():
        return recipe
    try:
        return decided_recipe(name, recipe, json.loads(thresholds.read_bytes()))
    except (PipelineError, TypeError, ValueError) as error:
        raise PipelineError(
            f"'{thresholds}' is not made of thresholds ({str(error).rstrip('.')}); predict again."
        ) from None


def build_network(name: str, dimensions: "Dimensions", recipe: Recipe) -> "ParserNetwork[Any]":
    """Build a method's network with fresh weights."""
    network = _named_class(method_named(name).network)
    parser: ParserNetwork[Any] = network(dimensions, recipe)
    return parser


def build_plan(name: str, dimensions: "Dimensions", recipe: Recipe) -> "TrainingPlan[Any]":
    """Build a method's training plan, with its network and whatever else training needs."""
    parser = build_network(name, dimensions, recipe)
    plan: TrainingPlan[Any] = _named_class(method_named(name).plan)(parser, dimensions, recipe)
    return plan


def _named_class(name: str) -> Any:
    module, _, class_name = name.partition(":")
    return getattr(importlib.import_module(module), class_name)
