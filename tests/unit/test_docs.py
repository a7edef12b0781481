"""The documentation: it builds without a warning, has every page in its menu and every option."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from pydantic import BaseModel

from pipeline.cli import STAGES
from pipeline.config.models import Config
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.recipes import Selection
from pipeline.parsers.registry import METHODS, build_network, recipe_for

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
CONFIGURATION = (REPOSITORY / "config.yaml").read_text(encoding="utf-8")
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav: object) -> list[str]:
    """Return the pages of a menu, which is a list of mappings of titles to pages or menus."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    assert isinstance(parts, list | type({}.values()))
    return [page for part in parts for page in pages_of(part)]


def option_names(model: type[BaseModel], hooks: ModuleType) -> set[str]:
    """Return the names of all options of a model and of the models in it."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        nested = hooks.section_of(field.annotation)
        names |= option_names(nested, hooks) if nested else {name}
    return names


def test_every_page_is_in_the_menu_once() -> None:
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(nav)) == PAGES


def test_every_page_that_code_or_configuration_names_exists() -> None:
    named = {}
    for folder in ("pipeline", "workflow", "envs"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in {".py", ".smk", ".yaml", ".in", ".j2", ".json", ".rst"}:
                for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                    named[page] = str(path.relative_to(REPOSITORY))
    named |= dict.fromkeys(re.findall(r"docs/[\w/-]+\.md", CONFIGURATION), "config.yaml")
    assert named
    assert {page: by for page, by in named.items() if not (REPOSITORY / page).is_file()} == {}


# What a page tells the reader to create.
CREATED = {
    "pipeline/parsers/mmil.py",
    "pipeline/parsers/recipes/mmil.py",
}


def test_every_path_that_a_page_names_exists() -> None:
    path = re.compile(r"`((?:pipeline|workflow|tests|envs|examples)/[^\s`]*)[^`]*`")
    named = {
        (page, name)
        for page in PAGES
        for name in path.findall((DOCS / page).read_text(encoding="utf-8"))
        if name not in CREATED
    }
    assert len(named) > 20
    assert [each for each in sorted(named) if not (REPOSITORY / each[1]).exists()] == []


@pytest.mark.extended
def test_the_site_builds_without_a_warning_or_the_network(tmp_path: Path) -> None:
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        html = (tmp_path / page).with_suffix(".html").read_text(encoding="utf-8")
        assert "generated:" not in html, page
        loaded = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(.*?)"', html)
        assert loaded, page
        assert [address for address in loaded if "//" in address] == [], page


def test_every_option_of_the_configuration_has_a_row(hooks: ModuleType) -> None:
    text = hooks.configuration()
    listed = {key.rpartition(".")[2] for key in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)}
    assert listed == option_names(Config, hooks)


def test_every_method_has_its_options(hooks: ModuleType) -> None:
    text = hooks.recipes()
    for key, method in METHODS.items():
        assert f"{{#recipe-{key}}}" in text
        for name in method.recipe.model_fields:
            assert f"| `{name}` |" in text, name


def test_every_stage_has_its_arguments(hooks: ModuleType) -> None:
    text = hooks.commands()
    for stage in STAGES:
        _, _, section = text.partition(f"## {stage}\n")
        shown = set(re.findall(r"--[a-z][\w-]*", section.partition("\n## ")[0]))
        known = set(re.findall(r"--[a-z][\w-]*", hooks.stage_parser(stage).format_help()))
        assert known - {"--help", "--debug"} <= shown, stage


# ---- the methods

INDEX = DOCS / "methods/index.md"
SELECTIONS: dict[Selection, str] = {
    "segment_type": "seg. Type",
    "segment_audio": "seg. A",
    "event_audio": "ev. A",
    "event_event": "ev. Event",
    "all": "mean of ten",
    "only": "mean of ten, `only`",
}


def rows_of(page: Path) -> dict[str, list[str]]:
    """Return the rows of a page's tables that have a method's key among their first two cells."""
    lines = re.findall(r"^\| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [line.split(" | ") for line in lines]
    keyed = [(cell.strip("`"), row) for row in rows for cell in row[:2]]
    return {key: row for key, row in keyed if key in METHODS}


def page_of(key: str) -> Path:
    """Return the page that a method's row in the index links."""
    (page,) = re.findall(r"\]\(([\w-]+\.md)", rows_of(INDEX)[key][0])
    return INDEX.parent / str(page)


def parameters(key: str, is_classic: bool) -> str:
    """Return a method's parameters in millions, on classic features or on CLAP and CLIP."""
    recipe = recipe_for(key, {"motion": is_classic})
    texts = (512, 768)
    if is_classic and "label_texts" in METHODS[key].recipe.model_fields:
        recipe, texts = recipe_for(key, {"motion": True, "label_texts": "words"}), (300, 300)
    audio = 512 if recipe.audio_input == "embedding" else 768
    sizes = (128, 2048, 512) if is_classic else (audio, 768, 0)
    with torch.device("meta"):
        network = build_network(key, Dimensions(*sizes, *texts, 10, 25), recipe)
    return f"{network.parameter_count() / 1e6:.2f}"


def test_every_method_has_a_row_in_the_index_and_a_page() -> None:
    rows = rows_of(INDEX)
    assert list(rows) == list(METHODS)
    for key, row in rows.items():
        assert METHODS[key].display_name == re.findall(r"^\[(.*?)\]", row[0])[0]
        assert f"configuration.md#recipe-{key})" in page_of(key).read_text(encoding="utf-8")
        # LINK+ is this project's own: its source is the study.
        assert "](https://" in row[2] or key == "link_plus", key
    written = {path.name for path in INDEX.parent.glob("*.md")}
    others = {"index.md", "options.md", "not-here.md"}
    assert {page_of(key).name for key in METHODS} == written - others


@pytest.mark.parametrize("key", METHODS)
def test_the_index_says_what_the_code_does(key: str) -> None:
    row, recipe = rows_of(INDEX)[key], recipe_for(key, {})
    labels = {"weak labels": "weak", "segment pseudo-labels": "pseudo"}
    assert row[4] == ", ".join(labels[each] for each in recipe.supervision.split(", "))
    assert row[5:7] == [parameters(key, True), parameters(key, False)]
    assert row[7] == ", ".join(SELECTIONS[selection] for selection in recipe.selections)
    assert row[8] == recipe.gate
    assert row[9].partition(";")[0] == (recipe.extra_supervision or "none")


@pytest.mark.parametrize("key", METHODS)
def test_the_page_of_a_method_says_how_it_is_trained(key: str) -> None:
    recipe = recipe_for(key, {})
    schedule = (
        f"× {recipe.step_factor:g} every {recipe.step_epochs} epochs"
        if recipe.schedule == "step"
        else f"cosine to {recipe.minimum_learning_rate:g} after {recipe.warmup_epochs} epochs of"
        " warm-up"
    )
    numbers = [recipe.segment_threshold, recipe.video_threshold]
    assert rows_of(page_of(key))[key][1:] == [
        str(recipe.epochs),
        str(recipe.batch_size),
        {"adam": "Adam", "adamw": "AdamW"}[recipe.optimiser],
        f"{recipe.learning_rate:g}",
        schedule,
        *(f"{number:g}" for number in numbers),
    ]


def test_every_option_that_a_page_of_a_method_names_exists(hooks: ModuleType) -> None:
    options = {name for method in METHODS.values() for name in method.recipe.model_fields}
    known = options | option_names(Config, hooks) | {"clip_norm"}
    named = {
        (page.name, name)
        for page in INDEX.parent.glob("*.md")
        for name in re.findall(r"`(?:\w+\.)*(\w+): ?[\w.]+`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert [each for each in sorted(named) if each[1] not in known] == []
