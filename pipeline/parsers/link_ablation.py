"""LINK's components: how to disable each one, and the variants of the ablation.

This module imports no heavy libraries, see ``recipes``.
"""

from typing import Any

from pipeline.parsers.recipes import LinkRecipe, Recipe

RecipeOptions = dict[str, Any]

# Options that disable each component of LINK. S-LOSS is both terms of eq. 10.
_WITHOUT: dict[str, RecipeOptions] = {
    "tsam": {"tsam": False},
    "cmim": {"cmim": False},
    "plsim": {"plsim": False},
    "s_loss": {"label_loss": "none", "avss_weight": 0.0},
}
# Other differences between the recipes of LINK and VALOR++; not components of the paper.
_AS_VALOR: RecipeOptions = {"norm": "none", "decay": "all"}


def link_variants() -> dict[str, RecipeOptions]:
    """Return the ablation of the LINK paper: variant to the options it changes.

    ``baseline`` is identical to VALOR++. ``normalised`` adds only what the components rely on
    (RMSNorm after the projection, no weight decay on gates and norms). Every ``only_`` variant
    differs from ``normalised``, and every ``no_`` variant from ``full``, by one component.
    """
    none = _without(*_WITHOUT)
    only = {
        f"only_{kept}": _without(*(name for name in _WITHOUT if name != kept)) for kept in _WITHOUT
    }
    removed = {f"no_{name}": _without(name) for name in _WITHOUT}
    return {"baseline": none | _AS_VALOR, "normalised": none, **only, **removed, "full": {}}


def components(recipe: Recipe) -> dict[str, bool]:
    """Return which of LINK's components a recipe enables; empty for other methods."""
    if not isinstance(recipe, LinkRecipe):
        return {}
    return {
        "TSAM": recipe.tsam,
        "CMIM": recipe.cmim,
        "PLSIM": recipe.plsim,
        "L_label": recipe.label_loss != "none" and recipe.label_weight > 0,
        "L_avss": recipe.avss_weight > 0,
    }


def _without(*names: str) -> RecipeOptions:
    return {option: value for name in names for option, value in _WITHOUT[name].items()}
