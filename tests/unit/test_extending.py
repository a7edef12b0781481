"""The method and the training plan of the pages: taken from there, registered, trained."""

import csv
import json
import re
import sys
from dataclasses import replace
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


def test_the_training_plan_of_the_guide_trains_in_two_phases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (PAGE.parents[1] / "how-to/extend.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    module = ModuleType("weak_first")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "weak_first", module)
    method = replace(METHODS["valorpp"], plan="weak_first:WeakFirst")
    monkeypatch.setitem(METHODS, "weak_first", method)
    corpus, out = write_corpus(tmp_path / "corpus", make_world(classes=5)), tmp_path / "model"
    options = ("epochs=2", "width=16", "layers=1", "heads=2", "feedforward=16")
    words = ["train", "--method", "weak_first", "--out", str(out), *corpus.words()]
    words += [word for option in options for word in ("--option", option)]
    assert main(words) == 0
    with (out / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["1"] * 5 + ["2"] * 2
    assert all(row["video"] for row in rows)
    assert [bool(row["audio_segment"]) for row in rows] == [False] * 5 + [True] * 2
