"""What a finished run makes again: what depends on a changed value, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import workflow_runs
import yaml
from workflow_runs import planned_jobs

from pipeline.core.files import RESOURCES
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {
    "dataset": {
        "source": "local",
        "annotations": "ann",
        "videos": "vids",
        "vocabulary": "voc.yaml",
        "shards": 2,
    },
    "encoders": {
        "clip": {"weights": "random:1", "sha256": None},
        "clap": {"weights": "random:2", "sha256": None},
    },
    "training": {"seeds": [0, 1]},
    "methods": {"link": {}, "han": {}},
}


def snakemake(folder: Path, *words: str, returns: int = 0) -> str:
    return workflow_runs.snakemake(
        folder, "--configfile", "my.yaml", "--cores", "1", *words, returns=returns
    )


def planned(folder: Path, *words: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run plans."""
    return planned_jobs(snakemake(folder, "--dry-run", "--quiet", "rules", *words))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose outputs are empty files, which Snakemake takes for made by its rules."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("ann", "vids"):
        (folder / name).mkdir()
    for index, table in enumerate(SPLIT_TABLES.values()):
        name = f"{index}0000000000_0_10"
        (folder / "ann" / table).write_text(f"filename\tevent_labels\n{name}\tSpeech\n")
        (folder / "vids" / f"{name}.mp4").touch()
    for table in EVENT_TABLES.values():
        (folder / "ann" / table).write_text("filename\tonset\toffset\tevent_labels\n")
    shutil.copy(RESOURCES / "vocabulary.yaml", folder / "voc.yaml")
    (folder / "my.yaml").write_text(yaml.safe_dump(CONFIG))
    text = snakemake(folder, "--dry-run")
    for line in re.findall(r"^    output: (.*)$", text, re.M):
        for output in line.split(", "):
            if not output.endswith(" (temp)") and "results/segments" not in output:
                (folder / output).parent.mkdir(parents=True, exist_ok=True)
                (folder / output).touch()
    for method in ("link", "han"):
        benchmark = folder / f"benchmarks/train_parser/models/{method}.tsv"
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.touch()
    snakemake(folder, "--touch", "--forceall", "--quiet", "all")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run", symlinks=True)


def test_another_place_spelling_or_time_is_no_change(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "deeper" / "still"
    moved.parent.mkdir()
    run.rename(moved)
    link = tmp_path / "checkout"
    link.symlink_to(REPOSITORY)
    spelled = {"annotations": ".//ann/", "videos": "vids/.", "vocabulary": "./voc.yaml"}
    values = CONFIG | {"dataset": CONFIG["dataset"] | spelled}
    (moved / "my.yaml").write_text(yaml.safe_dump(values))
    with (moved / "voc.yaml").open("a") as file:
        file.write("# a comment\n")
    for path in (moved / "ann").iterdir():
        path.touch()
    # Not by workflow_runs.py, whose package is that of the other path.
    words = ["--snakefile", str(link / "Snakefile"), "--configfile", "my.yaml", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=moved,
        env=os.environ | {"PYTHONPATH": str(link)},
        capture_output=True,
        text=True,
    )
    assert "Nothing to be done" in done.stdout, done.stderr


def test_an_older_table_counts(run: Path) -> None:
    table = run / "ann/AVVP_train.csv"
    table.write_text(table.read_text().replace("Speech", "Chainsaw"))
    os.utime(table, (0, 0))
    found = planned(run)
    assert found["annotations"] == found["pseudo_labels"] == found["report"] == 1
    assert found["train_parser"] == 2
    assert not {"manifest", "segments", "encode_segments", "encode_prompts"} & set(found)


def test_what_runs_again_depends_on_the_changed_value(run: Path) -> None:
    vocabulary = yaml.safe_load((run / "voc.yaml").read_text())
    vocabulary["classes"][0]["visual_caption"] = "another caption"
    (run / "voc.yaml").write_text(yaml.safe_dump(vocabulary))
    values = CONFIG | {"methods": {"link": {}, "han": {"segment_threshold": 0.4}}}
    (run / "my.yaml").write_text(yaml.safe_dump(values))
    text = snakemake(run, "--dry-run", "--printshellcmds")
    commands = re.findall(r"python -m pipeline (\S+) (.*)", text)
    prompts = [words for stage, words in commands if stage == "prompts"]
    assert len(prompts) == 1
    assert "--encoder clip" in prompts[0]
    trained = [words for stage, words in commands if stage == "train"]
    assert len(trained) == 1, "HAN reads no captions, and its threshold decides predictions alone"
    assert "--method link" in trained[0]
    predicted = [words for stage, words in commands if stage == "predict"]
    assert sum("--option segment_threshold=0.4" in words for words in predicted) == 1
    assert not {"annotations", "segments", "features"} & {stage for stage, _ in commands}


def test_a_report_reads_the_configured_run_alone(run: Path) -> None:
    values = CONFIG | {"methods": {"link": {}}, "training": {"seeds": [0]}}
    (run / "my.yaml").write_text(yaml.safe_dump(values))
    text = snakemake(run, "--dry-run", "--printshellcmds")
    [command] = re.findall(r"python -m pipeline report (.*)", text)
    assert "--models results/models/link/seed0 --pseudo-labels" in command
    assert "--benchmarks benchmarks/train_parser/models/link.tsv --vocabulary" in command
    assert "python -m pipeline train" not in text, "a seed less changes no other"
    [compared] = re.findall(
        r"python -m pipeline compare (.*)", snakemake(run, "-np", "--", "compare")
    )
    assert "--models results/models/link/seed0 --reference" in compared


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("dataset={annotations: anm}", "Error: dataset.annotations 'anm' does not exist; put"),
        ("dataset={videos: vidz}", "dataset.videos 'vidz' does not exist; put the videos there"),
    ],
)
def test_a_mistake_is_seen_although_all_outputs_are_there(
    change: str, sentence: str, run: Path
) -> None:
    text = snakemake(run, "--dry-run", "--config", change, returns=1)
    assert sentence in text
    assert ("common.smk" in text) == ("videos" in change), "no place in a rule file behind it"


def test_a_configuration_without_keys_is_that_of_the_preset(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("preset: demo")
    (tmp_path / "config.yaml").write_text("# nothing yet")
    assert planned(tmp_path)["demo_corpus"] == 1
