"""The static checks: formatting, lints, types, layering, and files that must agree."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from pipeline.cli.config import SCHEMA_PATH
from pipeline.config.models import Config

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted((REPOSITORY / "pipeline").rglob("*.py"))


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


def test_rooms_import_in_one_direction() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def constants_and_classes(module: Path) -> set[str]:
    """Return the public classes and constants that a module defines."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_") and name[0].isupper()}


def test_no_name_stands_for_two_things() -> None:
    where: dict[str, list[str]] = {}
    for module in MODULES:
        for name in constants_and_classes(module):
            where.setdefault(name, []).append(str(module.relative_to(REPOSITORY)))
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def test_schema_has_not_drifted() -> None:
    written = json.loads(SCHEMA_PATH.read_text())
    assert written == Config.model_json_schema(), "run `make schema`"


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^\s*(?:- )?([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_conda_environments_have_the_locks_pins() -> None:
    lock = pins((REPOSITORY / "envs/requirements.txt").read_text())
    environments = sorted((REPOSITORY / "envs").glob("*.yaml"))
    assert environments
    for path in environments:
        mine = pins(path.read_text())
        assert mine, path
        assert {name: lock.get(name) for name in mine} == mine, path


def test_every_rule_names_an_environment_that_exists() -> None:
    named = {
        (path.name, name)
        for path in (REPOSITORY / "workflow/rules").glob("*.smk")
        for name in re.findall(r"envs/([\w.]+)", path.read_text())
    }
    assert named
    assert [each for each in named if not (REPOSITORY / "envs" / each[1]).is_file()] == []


def test_lock_names_no_host() -> None:
    locks = sorted((REPOSITORY / "envs").glob("*.txt"))
    assert locks
    for path in locks:
        assert "://" not in path.read_text(), path


def test_profiles_name_rules_that_exist() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE))
    named = {}
    for path in (REPOSITORY / "workflow/profiles").glob("*/profile.yaml"):
        profile = path.read_text()
        # What the profile offers as a comment, to be uncommented by who needs it, counts too.
        for block in re.findall(r"^# set-resources:\n(?:#   .*\n)+", profile, re.MULTILINE):
            profile += re.sub(r"^# ", "", block, flags=re.MULTILINE)
        named[path.parent.name] = set(yaml.safe_load(profile).get("set-resources", {}))
    assert named["slurm"]
    assert {name: unknown for name, known in named.items() if (unknown := known - rules)} == {}
