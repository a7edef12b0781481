"""The tutorial's method: taken from the page, registered, trained."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from simulated import make_world, write_corpus

from pipeline.cli import main
from pipeline.parsers.registry import METHODS, Method, recipe_for

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorials/train-your-own-method.md"


@pytest.fixture
def mmil(monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what the page says, without touching the package."""
    text = PAGE.read_text()
    network, recipe = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r'^"mmil": (Method\(.*\)),$', text, re.MULTILINE)
    modules = {"pipeline.parsers.recipes.mmil": recipe, "pipeline.parsers.mmil": network}
    for name, source in modules.items():
        module = ModuleType(name)
        exec(source, vars(module))
        monkeypatch.setitem(sys.modules, name, module)
    names = {
        "MmilRecipe": sys.modules["pipeline.parsers.recipes.mmil"].MmilRecipe,
        "Method": Method,
    }
    monkeypatch.setitem(METHODS, "mmil", eval(line, names))
    return "mmil"


def test_the_method_of_the_page_trains_and_is_scored(mmil: str, tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", make_world(classes=5)), tmp_path / "model"
    assert recipe_for(mmil, {}).width == 256
    options = ("epochs=30", "batch_size=4", "width=32", "learning_rate=0.01", "warmup_epochs=2")
    words = [word for option in options for word in ("--option", option)]
    assert main(["train", "--method", mmil, "--out", str(out), *corpus.words(), *words]) == 0
    metrics = json.loads((out / "metrics.json").read_text())["test"]["metrics"]
    assert metrics["segment"]["type"] > 30
