"""What a run leaves of how it came about."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from report_artifacts import write_run

from pipeline.cli import main
from pipeline.report.artifacts import ReportInputs
from pipeline.report.provenance import facts, machine

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {
    "configuration": {"dataset": {"name": "<mine>"}},
    "recipes": {"models/link": {"epochs": 3, "batch_size": 64}},
    "weights": {
        "clip": {"file": "clip.pt", "sha256": "ab" * 32},
        "clap": {"file": "clap.pt", "sha256": "hf:me/clap/clap.pt"},
    },
    "hub": {
        "hf:me/clip/clip.pt": {"commit": "cd" * 20, "sha256": "ab" * 32, "verified": True},
        "hf:me/words/vocab.json": {"commit": "", "sha256": "ef" * 32, "verified": False},
    },
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def out(sources: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    words = ["report", "--models", *sources.models, "--pseudo-labels", sources.pseudo_labels]
    words += ["--annotations", sources.annotations, "--statuses", *sources.statuses]
    words += ["--benchmarks", *sources.benchmarks, "--settings", json.dumps(SETTINGS)]
    assert main([*map(str, words), "--out", str(out)]) == 0
    return out


def test_one_json_says_where_the_numbers_come_from(out: Path, sources: ReportInputs) -> None:
    record = json.loads((out / "provenance.json").read_text())
    assert {key: record[key] for key in SETTINGS} == SETTINGS
    table = sources.annotations / "AVVP_train.csv"
    assert record["tables"][table.name] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert len(record["tables"]) == 5
    assert record["seeds"]["link"] == sorted(record["seeds"]["link"])
    head = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True).stdout.strip()
    said = record["git"].removesuffix(", with changes")
    assert commit.startswith(said) if commit else said == "not a git checkout"
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_bytes"] > 1 << 28
    assert record["packages"]["numpy"] == np.__version__
    costs = {cost["stage"]: cost for cost in record["cost"]}
    assert costs["segments"]["jobs"] == 2
    assert costs["segments"]["memory_mb"] > 0


def test_the_page_shows_it(out: Path) -> None:
    page = (out / "index.html").read_text()
    record = json.loads((out / "provenance.json").read_text())
    assert len(facts(record)) > 5
    for name, value in facts(record):
        assert f"<dt>{name}</dt>" in page
        assert value
    known = dict(facts(record))
    assert known["encoder clap"] == "weights hf:me/clap/clap.pt, clap.pt"
    assert known["hf:me/clip/clip.pt"] == "commit cdcdcdcdcdcd, sha256 abababababab"
    assert known["hf:me/words/vocab.json"] == ("put there by hand, unverified, sha256 efefefefefef")
    shown = re.search(r"<summary>Effective configuration</summary>\s*<pre>(.*?)</pre>", page, re.S)
    assert shown
    assert "mine" in shown[1]
    assert "<mine>" not in page


def test_a_machine_is_described_without_naming_it() -> None:
    described = machine()
    assert set(described) == {"system", "processor", "cores", "memory_bytes", "gpus"}
    assert described["processor"]
