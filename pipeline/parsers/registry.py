"""The methods by name: what each is called, how it is trained, and where its network is."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipeline.core.errors import PipelineError
from pipeline.parsers.recipes import (
    HanRecipe,
    LinkRecipe,
    PrintedLinkRecipe,
    Recipe,
    ValorPlusPlusRecipe,
    ValorRecipe,
)

if TYPE_CHECKING:
    from pipeline.parsers.interface import Dimensions, ParserNetwork


# Raised whenever the same recipe on the same features may train to another parser.
PARSERS_VERSION = 3


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes
    ----------
    display_name
        As tables and plots show it.
    recipe
        Its options, a pydantic model.
    network
        Where its parser class is, ``module:Class``; imported when it is built, for torch is slow.
    """

    display_name: str
    recipe: type[Recipe]
    network: str


METHODS: dict[str, Method] = {
    "han": Method("HAN", HanRecipe, "pipeline.parsers.han:Han"),
    "valor": Method("VALOR", ValorRecipe, "pipeline.parsers.valor:Valor"),
    "valorpp": Method("VALOR++", ValorPlusPlusRecipe, "pipeline.parsers.valor:Valor"),
    "link": Method("LINK", LinkRecipe, "pipeline.parsers.link:Link"),
    "link_printed": Method("LINK, as printed", PrintedLinkRecipe, "pipeline.parsers.link:Link"),
}


def method_named(name: str) -> Method:
    """Return a method.

    Raises
    ------
    PipelineError
        There is none of that name.
    """
    if name not in METHODS:
        raise PipelineError(f"'{name}' is not a method; allowed are {', '.join(METHODS)}.")
    return METHODS[name]


def recipe_for(name: str, options: Mapping[str, object]) -> Recipe:
    """Return a method's recipe with some options changed.

    Values may be strings, as a command line gives them.

    Raises
    ------
    PipelineError
        The method or an option is unknown, or a value is not allowed.
    """
    model = method_named(name).recipe
    unknown = sorted(set(options) - set(model.model_fields))
    if unknown:
        raise PipelineError(
            f"'{unknown[0]}' is not an option of {name}; allowed are "
            f"{', '.join(sorted(model.model_fields))}."
        )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            option = ".".join(str(part) for part in first["loc"])
            message = f"{option} is {first['input']!r}, but {message[0].lower()}{message[1:]}"
        raise PipelineError(f"{name}: {message}; change the option.") from None


def saved_recipe(path: Path, name: str, options: Mapping[str, object]) -> Recipe:
    """Return the recipe that a checkpoint's header names.

    Raises
    ------
    PipelineError
        Its method or an option is no more, or a value is no longer allowed.
    """
    try:
        return recipe_for(name, options)
    except PipelineError as error:
        reason = str(error).partition(";")[0]
        raise PipelineError(
            f"'{path}' is of another version of the pipeline ({reason}); train again."
        ) from None


def build_network(name: str, dimensions: "Dimensions", recipe: Recipe) -> "ParserNetwork":
    """Build a method's network with fresh weights."""
    module, _, class_name = method_named(name).network.partition(":")
    network = getattr(importlib.import_module(module), class_name)
    parser: ParserNetwork = network(dimensions, recipe)
    return parser
