"""Methods and recipes: what can be asked for, and that asking needs no heavy library."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.parsers.interface import Dimensions, ParserNetwork
from pipeline.parsers.registry import METHODS, build_network, recipe_for

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_built_from_its_defaults(name: str) -> None:
    recipe = recipe_for(name, {})
    assert recipe == METHODS[name].recipe()
    parser = build_network(name, Dimensions(8, 8, 0, 6, 6, 10, 4), recipe)
    assert isinstance(parser, ParserNetwork)


@pytest.mark.parametrize("name", METHODS)
def test_every_recipe_survives_its_own_json(name: str) -> None:
    recipe = recipe_for(name, {"epochs": 7})
    assert recipe_for(name, recipe.model_dump(mode="json")) == recipe


def test_options_may_be_strings_as_a_command_line_gives_them() -> None:
    options = {"tsam": "false", "learning_rate": "1e-3", "epochs": "3", "encoder": "before"}
    recipe = recipe_for("link", options)
    typed = {"tsam": False, "learning_rate": 1e-3, "epochs": 3, "encoder": "before"}
    assert recipe == recipe_for("link", typed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epoch": 3},
            r"option of valorpp 'epoch' is unknown; it must be one of epochs,",
        ),
        ({"epochs": "many"}, r"option of valorpp 'epochs' is 'many'; it must be a valid integer"),
        ({"width": 10, "heads": 4}, r"width 10 must be a multiple of heads 4"),
    ],
)
def test_mistakes_say_what_is_allowed(options: dict[str, object], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        recipe_for("valorpp", options)


def test_checking_a_recipe_loads_no_heavy_library() -> None:
    code = (
        "import sys; from pipeline.parsers.registry import recipe_for; recipe_for('link', {});"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
