"""The static checks: formatting, lints, types, layering, and files that must agree."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config.models import SCHEMA_PATH, Config

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted((REPOSITORY / "pipeline").rglob("*.py"))

# Rooms in the order in which they may import: a room may use those before it.
LAYERS = [
    {"errors", "files", "pages", "progress", "devices", "locks"},
    {"store", "vocabulary", "fetch"},
    {"annotations", "oddities", "metrics"},
    {"manifest", "media"},
    {"segments"},
    {"videos"},
    {"encoders"},
    {"features", "prompts", "verification"},
    {"evaluation"},
    {"pseudo_labels"},
    {"demo"},
    {"parsers", "losses"},
    {"config"},
    {"cache", "checkpoint", "optimisation"},
    {"dataset", "interop"},
    {"agreement", "export"},
    {"prediction"},
    {"training"},
    {"parse"},
    {"seeds"},
    {"report"},
    {"comparison"},
    {"ablation"},
    {"cli"},
]


def run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_check() -> None:
    run("ruff", "check", ".")


def test_ruff_format() -> None:
    run("ruff", "format", "--check", ".")


def test_mypy() -> None:
    run("mypy")


def test_snakefmt() -> None:
    run("snakefmt", "--check", "Snakefile", "workflow/rules")


def test_snakemake_lint() -> None:
    run("snakemake", "--lint")


def imports_of(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "pipeline" and len(parts) > 1 else None


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_module_keeps_its_place(module: Path) -> None:
    imports = imports_of(module)
    assert not any(name.split(".")[0] == "snakemake" for name in imports)
    own = module.relative_to(REPOSITORY / "pipeline").with_suffix("").parts[0]
    if own in {"__init__", "__main__"}:
        return
    ranks = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
    assert own in ranks, f"give the room '{own}' its place in LAYERS"
    used = {room for name in imports if (room := room_of(name)) in ranks}
    above = {room for room in used - {own} if room and ranks[room] > ranks[own]}
    assert not above, f"{own} imports {above}, which come after it"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_module_is_short(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


def test_schema_has_not_drifted() -> None:
    written = json.loads(SCHEMA_PATH.read_text())
    assert written == Config.model_json_schema(), "run `make schema`"


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^\s*(?:- )?([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_conda_environments_have_the_locks_pins() -> None:
    lock = pins((REPOSITORY / "envs/requirements.txt").read_text())
    for path in sorted((REPOSITORY / "envs").glob("*.yaml")):
        mine = pins(path.read_text())
        assert mine, path
        assert {name: lock.get(name) for name in mine} == mine, path


def test_every_rule_names_an_environment_that_exists() -> None:
    for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):
        for name in re.findall(r"envs/([\w.]+)", path.read_text()):
            assert (REPOSITORY / "envs" / name).is_file(), f"{path.name}: {name}"


def test_lock_names_no_host() -> None:
    for path in sorted((REPOSITORY / "envs").glob("*.txt")):
        assert "://" not in path.read_text(), path


def test_profiles_name_rules_that_exist() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE))
    for path in (REPOSITORY / "workflow/profiles").glob("*/profile.yaml"):
        named = yaml.safe_load(path.read_text()).get("set-resources", {})
        assert set(named) <= rules, path
