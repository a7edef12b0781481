"""The teacher in the workflow, added to a finished run: who trains on its labels, what reruns."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_run import SmallRun
from workflow_runs import planned_jobs, snakemake

from pipeline.core.shards import read_shard

pytestmark = [pytest.mark.extended, pytest.mark.timeout(1800)]

SMALL = {"epochs": 2, "width": 32, "layers": 1, "heads": 2, "feedforward": 32}


@dataclass(frozen=True)
class TaughtRun:
    """A folder in which the workflow runs with a teacher."""

    folder: Path

    def configure(self, epochs: int) -> None:
        values: dict[str, Any] = yaml.safe_load((self.folder / "my.yaml").read_text())
        values |= {
            "preset": "demo_methods",
            "teacher": {
                "demo": {"train": 4, "val": 2, "test": 1},
                "network": {"width": 32, "hidden": 32, "epochs": epochs},
            },
            "methods": {"valorpp": SMALL, "uwav": SMALL | {"labels": "teacher"}},
        }
        (self.folder / "my.yaml").write_text(yaml.safe_dump(values))

    def snakemake(self, *words: str) -> str:
        options = ("--cores", "2", "--configfile", "my.yaml", *words)
        return snakemake(self.folder, *options, "--", "compare")

    def planned(self) -> dict[str, int]:
        return planned_jobs(self.snakemake("--dry-run"))


@pytest.fixture(scope="module")
def run(undisturbed: SmallRun) -> TaughtRun:
    run = TaughtRun(undisturbed.copy().folder)
    run.configure(epochs=2)
    assert not {"segments", "encode_segments", "pseudo_labels"} & set(run.planned())
    run.snakemake()
    return run


def test_both_kinds_of_labels_are_in_one_leaderboard(run: TaughtRun) -> None:
    results = run.folder / "results"
    similarity, taught = (
        read_shard(results / folder / "labels.safetensors")
        for folder in ("pseudo_labels", "teacher_labels")
    )
    assert taught.names == similarity.names
    assert ("teacher" in similarity.meta, "teacher" in taught.meta) == (False, True)
    assert taught.meta["fingerprint"] == similarity.meta["fingerprint"]
    quality = json.loads((results / "teacher_labels/quality.json").read_text())
    assert quality["val"]["masked"]["videos"] == 3
    board = (results / "compare/compare.md").read_text()
    rows = {
        line.split("|")[1].strip(): line for line in board.splitlines() if "| this run |" in line
    }
    assert "the teacher's dense labels" in rows["UWAV"]
    assert "teacher" not in rows["VALOR++"]
    assert not list((results / "dense/segments").rglob("*.safetensors")), "segments are temporary"


def test_another_teacher_trains_only_those_who_learn_from_it(run: TaughtRun) -> None:
    assert run.planned() == {}
    run.configure(epochs=3)
    assert run.planned() == {
        "train_teacher": 1,
        "teacher_labels": 1,
        "train_parser": 1,
        "predict_parser": 1,
        "evaluate_parser": 1,
        "compare": 1,
    }
    run.configure(epochs=2)
