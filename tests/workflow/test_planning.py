"""What a dry run plans of a configuration, and what it says before anything is started."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOYS = "which know only its synthetic videos; set `preset: llp`"


def python_m(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


def dry_run(folder: Path, *words: str, returns: int = 0) -> str:
    snakefile = str(REPOSITORY / "Snakefile")
    done = python_m("snakemake", "--snakefile", snakefile, "--dry-run", *words, cwd=folder)
    text = done.stdout + done.stderr
    assert done.returncode == returns, text
    return text


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "config.yaml").write_text("methods: {han: {}}\ntraining: {seeds: [4]}")
    (tmp_path / "a.yaml").write_text("methods: {link: {epochs: 3}}\ndataset: {shards: 3}")
    (tmp_path / "b.yaml").write_text("methods: {valorpp: {}}\ndecode: {frame_size: 32}")
    return ["--configfile", "a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("changes", "method"),
    [([], "valorpp"), (["--config", "methods={link: {epochs: 5}}"], "link")],
)
def test_what_is_planned_is_what_config_shows(
    changes: list[str], method: str, files: list[str], tmp_path: Path
) -> None:
    shown = python_m("pipeline", "config", "--show", *files, *changes, cwd=tmp_path)
    assert set(re.findall(r"^methods\.(\w+)", shown.stdout, re.MULTILINE)) == {method}
    assert "training.seeds: [4]  # config.yaml" in shown.stdout
    assert "dataset.shards: 3  # a.yaml" in shown.stdout
    text = dry_run(tmp_path, *files, *changes)
    planned = set(re.findall(r"results/models/(\w+/seed\d+)/", text))
    assert planned == {f"{method}/seed4"}
    assert "3-of-3" in text


OWN = "dataset={{source: local, videos: {videos}, annotations: {annotations}}}"


@pytest.mark.parametrize(
    ("change", "target", "sentence"),
    [
        (
            OWN.format(videos="nowhere", annotations="resources/demo/annotations"),
            "results/manifest.tsv",
            "dataset.videos 'nowhere' does not exist; put the videos there, set dataset.videos, or"
            " download them with the target `videos`.",
        ),
        (
            OWN.format(videos="resources/demo/videos", annotations="nowhere"),
            "results/annotations/check.tsv",
            "dataset.annotations 'nowhere' does not exist; put",
        ),
        ("parse={videos: nowhere}", "parse", "parse.videos 'nowhere' does not exist; put"),
    ],
)
def test_folder_that_is_missing_is_one_sentence(
    change: str, target: str, sentence: str, tmp_path: Path
) -> None:
    text = dry_run(tmp_path, "--config", change, "--", target, returns=1)
    assert sentence in text
    assert "MissingInputException" not in text


def test_videos_are_downloaded_into_a_folder_that_is_missing(tmp_path: Path) -> None:
    own = OWN.format(videos="nowhere", annotations="resources/demo/annotations")
    text = dry_run(tmp_path, "--config", own, "--", "videos")
    assert text.count(TOYS) == 1, "own videos and the demo's encoders"
