"""LINK's components by name: what takes each out, who has which, and the ablation's variants.

No heavy library is imported here, see ``recipes``.
"""

from typing import Any

from pipeline.parsers.recipes import LinkRecipe, Recipe

RecipeOptions = dict[str, Any]

# What takes each component out of LINK. S-LOSS is both terms of eq. 10.
_WITHOUT: dict[str, RecipeOptions] = {
    "tsam": {"tsam": False},
    "cmim": {"cmim": False},
    "plsim": {"plsim": False},
    "s_loss": {"label_loss": "none", "avss_weight": 0.0},
}
# What else LINK's recipe has and VALOR++'s has not; neither is a component of the paper.
_AS_VALOR: RecipeOptions = {"norm": "none", "decay": "all"}


def link_variants() -> dict[str, RecipeOptions]:
    """Return the ablation of LINK's paper: variant to what it changes of LINK's recipe.

    ``baseline`` is VALOR++ to the last weight. ``normalised`` has only what components need
    around them (RMSNorm after the projection, no decay of gates and norms), so that every
    ``only_`` row differs from it, and every ``no_`` row from ``full``, by one component.
    """
    none = _without(*_WITHOUT)
    only = {
        f"only_{kept}": _without(*(name for name in _WITHOUT if name != kept)) for kept in _WITHOUT
    }
    removed = {f"no_{name}": _without(name) for name in _WITHOUT}
    return {"baseline": none | _AS_VALOR, "normalised": none, **only, **removed, "full": {}}


def components(recipe: Recipe) -> dict[str, bool]:
    """Return which of LINK's components a recipe has; nothing for another method's."""
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
