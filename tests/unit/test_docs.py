"""The documentation: it builds without a warning, has every page in its menu and every option."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from pydantic import BaseModel

from pipeline.cli import STAGES
from pipeline.config.models import Config
from pipeline.parsers.registry import METHODS

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
