"""README and the tutorials, followed from top to bottom in a fresh clone and a fresh shell.

Stand-ins: the environment of the tests is the clone's `.venv`; the demo has 12 videos and small
networks. A command that README has, too, is run once. What needs the Hub or minutes of training is
planned in test_documented_runs.py or run in test_hub_encoders.py; the tutorials' Python is run by
tests/unit/test_api.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from documents import add_documented_method, blocks, configuration, fresh_clone, is_run

pytestmark = pytest.mark.extended

TUTORIALS = (
    "docs/tutorials/run-the-demo.md",
    "docs/tutorials/parse-a-video.md",
    "docs/tutorials/train-your-own-method.md",
)
# The small demo has other videos than the one that the pages parse, and readers have their own.
OTHER_VIDEOS = """
for video in resources/demo/videos/WMtVSu5qcKA_320_330.mp4 clip.mp4 my/clips/clip.mp4; do
  mkdir -p "$(dirname $video)"
  cp "$(find resources/demo/videos -name '*.mp4' | sort | head -1)" $video
done
"""
RUNS_HERE = ("snakemake --cores all --configfile my.yaml -- parse",)


def script_of(page: str) -> list[str]:
    """Return the lines of a shell script that does what a page says."""
    lines = []
    for number, block in enumerate(blocks(page)):
        if configuration(block):
            lines.append(f"cat > my.yaml <<'END'\n{block.text}END")
        if page == "README.md" and "import pipeline\n" in block.text:
            text = block.text.replace('preset="llp"', 'preset="demo"')
            lines.append(f"cat > snippet-{number}.py <<'END'\n{text}END")
            lines.append(f"python snippet-{number}.py")
        for command in filter(is_run, block.commands):
            if "--classes" not in command and (
                not command.startswith("snakemake") or command in RUNS_HERE
            ):
                lines.append(command)
            if command == "make demo":
                lines.append(OTHER_VIDEOS)
    return lines


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fresh_clone(tmp_path_factory.mktemp("walk") / "avvp-pipeline")
    if not Path(sys.prefix, ".ready").is_file():
        pytest.skip("the tests do not run in the environment of `make env`, which a clone has")
    (folder / ".venv").symlink_to(sys.prefix)
    preset = folder / "workflow/presets/demo.yaml"
    values = yaml.safe_load(preset.read_text())
    values["dataset"] |= {"shards": 1, "demo": {"seed": 5, "train": 6, "val": 3, "test": 3}}
    values["training"] = {"seeds": [0], "seeds_at_once": 1}
    small = {"epochs": 2, "width": 32, "layers": 1, "heads": 2, "feedforward": 32}
    values["methods"] = {"link": small}
    preset.write_text(yaml.safe_dump(values))
    add_documented_method(folder)
    return folder


def walk(clone: Path, lines: list[str]) -> str:
    """Follow a page in a new shell, activated as README says; return what is printed."""
    # No program of the environment before it is activated; nothing is ever installed.
    variables = {key: value for key, value in os.environ.items() if "VIRTUAL_ENV" not in key}
    variables |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(clone), "PYTHON": "/bin/false"}
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=clone,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, "\n".join([*lines, done.stdout[-3000:]])
    return done.stdout


def test_readme_and_tutorials_can_be_followed(clone: Path) -> None:
    readme = script_of("README.md")
    assert readme[:3] == ["make env", "source .venv/bin/activate", "make demo"]
    said = walk(clone, readme)
    demo = said.partition("report: results/report/index.html")[0]
    assert "segment level" in demo, "the result table"
    # What a person reads, but for the lines on running jobs, one every 30 seconds.
    assert len([line for line in demo.splitlines() if not line.startswith("    ")]) < 50
    assert "Event(label=" in said
    for path in ("parsed/clip/index.html", "parsed/WMtVSu5qcKA_320_330/events.csv"):
        assert (clone / path).is_file()
    for page in TUTORIALS:
        lines = [line for line in script_of(page) if line not in readme]
        assert lines or page == "docs/tutorials/run-the-demo.md"
        walk(clone, ["source .venv/bin/activate", *lines])
    for path in ("link-demo/checkpoint.safetensors", "results/parsed/clip/index.html"):
        assert (clone / path).is_file()
    assert (clone / "mmil/metrics.json").is_file()
