"""The package as pip sees it: its dependencies, its wheel, and what works without a checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline import __version__
from pipeline.cli import EXTRAS as EXTRAS_OF_LIBRARIES
from pipeline.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
# What the tests of tests/conftest.py close for every other test.
CLOSED = re.compile(r"(https?|ftp|all|no)_proxy|.*_OFFLINE", re.IGNORECASE)
OPEN = {key: value for key, value in os.environ.items() if not CLOSED.fullmatch(key)}


def requirements() -> Iterator[Requirement]:
    for text in [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]:
        yield Requirement(text)


def uv(*words: str, env: dict[str, str] = OPEN) -> subprocess.CompletedProcess[str]:
    """Run uv; skip where the index cannot be reached."""
    if UV is None:
        pytest.skip("uv is not installed")
    done = subprocess.run(
        [UV, *words], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=540
    )
    unreachable = r"error sending request|dns error|Failed to (fetch|download)|[Cc]onnection"
    if done.returncode and re.search(unreachable, done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    return done


# ---- dependencies


def test_every_pin_of_the_lock_is_in_the_projects_range():
    lock = (REPOSITORY / "envs/requirements.txt").read_text()
    pins = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE)
    }
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name != "avvp-pipeline":
            assert name in pins, f"{name} is not in the lock"
            assert requirement.specifier.contains(pins[name]), f"{requirement}: {pins[name]}"


def test_everything_that_the_environment_installs_by_name_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    text = (REPOSITORY / "envs/requirements.in").read_text()
    named = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z][\w.-]*)", text, re.M)}
    assert named - declared == set()


def test_imports_of_the_package_are_dependencies():
    """What parsing imports is in the base dependencies, under the name of its distribution."""
    distributions = {
        "PIL": "pillow",
        "yaml": "pyyaml",
        "ffmpeg": "ffmpeg-python",
        "open_clip": "open-clip-torch",
        "yt_dlp": "yt-dlp",
    }
    base = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    optional = {"matplotlib", "yt-dlp"}
    for path in sorted((REPOSITORY / "pipeline").rglob("*.py")):
        for name in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE):
            if name in sys.stdlib_module_names or name == "pipeline" or not _installed(name):
                continue
            wanted = canonicalize_name(distributions.get(name, name))
            assert wanted in base | optional, f"{path.name} imports {name}"


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_a_stage_names_the_extra_that_it_lacks(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("pipeline.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    stage = ModuleType("stage")
    stage.add_arguments = lambda parser: None
    stage.run = lambda arguments: __import__("pipeline.report.drawing")
    monkeypatch.setitem(sys.modules, "pipeline.cli.report", stage)
    assert main(["report"]) == 2
    error = capsys.readouterr().err
    assert "report needs matplotlib, which is not installed" in error
    assert "avvp-pipeline[train]" in error
    assert set(EXTRAS_OF_LIBRARIES.values()) <= set(EXTRAS)


@pytest.mark.extended
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_dependencies_resolve(python, tmp_path):
    words = ["--python-version", python, "--all-extras", "--quiet"]
    done = uv("pip", "compile", "pyproject.toml", *words, "-o", str(tmp_path / "lock.txt"))
    assert done.returncode == 0, done.stderr
    assert "torch==" in (tmp_path / "lock.txt").read_text()


# ---- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = uv("build", "--wheel", "--out-dir", str(folder))
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.extended
def test_the_wheel_has_all_files_of_the_package_and_stays_small(wheel):
    assert wheel.name == f"avvp_pipeline-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 6 << 20
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "pipeline"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(tracked) - names == set()
    assert {"pipeline/presets/demo.yaml", "pipeline/presets/llp.yaml", "pipeline/LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests", "workflow"))]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment that has the wheel and its dependencies, nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "env"
    assert uv("venv", "--quiet", "--python", sys.executable, str(environment)).returncode == 0
    python = environment / "bin" / "python"
    done = uv("pip", "install", "--quiet", "--python", str(python), str(wheel))
    assert done.returncode == 0, done.stderr
    return python.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a clip of the demo and no checkout."""
    from pipeline.demo.corpus import render_video
    from pipeline.demo.scripts import write_scripts

    folder = tmp_path_factory.mktemp("empty")
    script = write_scripts(0, {"train": 1, "val": 1, "test": 1})[0]
    render_video(folder, script)
    (folder / f"{script.filename}.mp4").rename(folder / "clip.mp4")
    return folder


def run(words: list[str], folder: Path) -> str:
    """Run a program of the installed package as a user would; return what it prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept |= {"HOME": str(folder)}
    kept = {key: value for key, value in kept.items() if not key.endswith("_OFFLINE")}
    done = subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.extended
def test_the_command_works_without_a_checkout(installed, folder):
    avvp = str(installed / "avvp")
    assert run([avvp, "--version"], folder).strip() == __version__
    assert run([avvp, "--help"], folder).startswith("usage: avvp ")
    words = ["parse", "clip.mp4", "--classes", "a bell, a dog", "--preset", "demo", "--out", "out"]
    assert run([avvp, *words], folder).splitlines()[-1] == "out/clip/index.html"
    assert (folder / "out/clip/events.csv").is_file()
    assert run([str(installed / "python"), "-m", "pipeline", "--version"], folder).strip()


@pytest.mark.extended
def test_the_readmes_example_works_without_a_checkout(installed, folder):
    """A parser trained for a moment on this machine takes the place of the README's."""
    from parse_runs import write_run

    write_run(folder)
    script = """
import pipeline

parser = pipeline.load_parser("results/models/link/seed0")
parsed = parser.parse("clip.mp4")
for event in parsed.events:
    print(event)
print(parsed.probabilities["audio"].shape)
parsed.to_dataframe(); parsed.save("parsed/clip")
print(pipeline.zero_shot(["a bell", "rain"], preset="demo").parse("clip.mp4"))
print(pipeline.__file__)
"""
    said = run([str(installed / "python"), "-c", script], folder)
    assert "Event(label=" in said
    assert "(10, 2)" in said
    assert "Parsed('clip.mp4', 10 s" in said
    assert str(installed.parent) in said
    assert (folder / "parsed/clip/index.html").is_file()
