"""Every documented `snakemake` command is planned as written, page by page, in a fresh clone."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from documents import PAGES, add_documented_method, blocks, configuration, fresh_clone, is_run

pytestmark = pytest.mark.extended

# Imports Snakemake once and forks for each plan: (its my.yaml, its words). Prints exit codes.
DRIVER = """
import json, os, sys, traceback
from pathlib import Path
import snakemake.cli, pipeline.config.load
codes = []
for number, (settings, words) in enumerate(json.load(sys.stdin)):
    Path("my.yaml").write_text(settings)
    child = os.fork()
    if not child:
        said = os.open(f"said-{number}", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1), os.dup2(said, 2)
        try:
            snakemake.cli.main(words)
        except SystemExit as done:
            os._exit(done.code or 0)
        except BaseException:
            traceback.print_exc()
        os._exit(70)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


def documented_runs() -> list[tuple[str, str, list[str]]]:
    """Return page, my.yaml and words of each run, each once."""
    runs: dict[tuple[str, ...], tuple[str, str, list[str]]] = {}
    for page in PAGES:
        settings = "preset: llp\n"  # for pages that leave the configuration to the reader
        for block in blocks(page):
            settings = configuration(block) or settings
            for command in block.commands:
                words = shlex.split(command)
                if words[0] == "snakemake" and is_run(command):
                    used = settings if "my.yaml" in words else "{}"
                    runs.setdefault((used, *words), (page, used, words[1:]))
    return list(runs.values())


def add_what_readers_bring(clone: Path) -> None:
    """Add videos, tables and the method that pages tell readers to provide."""
    videos = ("resources/videos", "runs/llp/resources/videos", "data/llp/videos", "unav/videos")
    for folder in (*videos, "my/clips"):
        (clone / folder).mkdir(parents=True)
        (clone / folder / "BjCEufrlXm4.mp4").write_bytes(b"a video")
    events = [{"label": "dog bark", "segment": [1.5, 4.0]}]
    database = {
        f"{split}_000000": {"subset": split, "annotations": events}
        for split in ("train", "val", "test")
    }
    for video in database:
        (clone / f"unav/videos/{video}.mp4").write_bytes(b"a video")
    (clone / "unav100_annotations.json").write_text(json.dumps({"database": database}))
    (script,) = [
        each for each in blocks("docs/how-to/your-dataset.md") if each.language == "python"
    ]
    (clone / "tables.py").write_text(script.text)
    (command,) = [
        command
        for block in blocks("docs/how-to/your-dataset.md")
        for command in block.commands
        if "tables.py" in command
    ]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=clone, check=True)
    add_documented_method(clone)


def test_every_documented_run_is_planned(tmp_path: Path) -> None:
    clone, runs = fresh_clone(tmp_path / "clone"), documented_runs()
    assert len(runs) > 20
    add_what_readers_bring(clone)
    plans = [
        (settings.replace("/data/", f"{clone}/data/"), ["--dry-run", *words])
        for _, settings, words in runs
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(plans),
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    failed = {
        (page, *words): (clone / f"said-{number}").read_text()[-1500:]
        for number, ((page, _, words), code) in enumerate(zip(runs, codes, strict=True))
        if code
    }
    assert failed == {}
