"""The command for a GPU (tests/gpu): rehearsed on a CPU, and what a failing part costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import parts
import pytest
from parts import Part, Report

GPU = Path(__file__).resolve().parents[1] / "gpu"
ROW = 'import sys; open(sys.argv[1], "a").write(\'{"what": "one", "value": 1.5}\\n\')\n'


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A report whose parts are scripts in a folder of their own."""
    scripts = tmp_path / "tests" / "gpu"
    scripts.mkdir(parents=True)
    monkeypatch.setattr(parts, "HERE", scripts)
    (scripts / "good.py").write_text(ROW)
    (scripts / "bad.py").write_text(ROW + "raise ValueError('out of luck')\n")
    (scripts / "slow.py").write_text(
        ROW + "import subprocess, time\nsubprocess.Popen(['sleep', '60'])\ntime.sleep(60)\n"
    )
    return Report(tmp_path, {"is_rehearsal": False, "machine": {"card": "none"}, "parts": {}})


def test_a_part_that_fails_or_hangs_costs_only_itself(report):
    limits = {"bad": 20, "slow": 3, "good": 20}
    parts.run_parts([Part(name, limit, "about") for name, limit in limits.items()], report, 60)
    found = json.loads((report.folder / "gpu.json").read_text())["parts"]
    states = {name: entry["state"] for name, entry in found.items()}
    assert states == {"bad": "failed with 1", "slow": "stopped after 3 s", "good": "done"}
    assert all(entry["rows"] == [{"what": "one", "value": 1.5}] for entry in found.values())
    assert "out of luck" in found["bad"]["end_of_log"][-1]
    table = (report.folder / "gpu.md").read_text()
    assert table.count("| one | 1.5 |") == 3
    assert "ValueError: out of luck" in table
    assert "ValueError: out of luck" in (report.folder / "logs.txt").read_text()


def test_every_part_has_a_script():
    assert all((GPU / f"{part.name}.py").is_file() for part in (*parts.PARTS, *parts.SHARES))


def test_parts_that_find_no_time_are_left_out(report):
    parts.run_parts([Part("good", 20, "about")], report, parts.LEAST / 2)
    entry = json.loads((report.folder / "gpu.json").read_text())["parts"]["good"]
    assert (entry["state"], entry["rows"]) == ("no time left", [])


@pytest.mark.extended
@pytest.mark.timeout(2400)
def test_every_part_is_rehearsed_on_a_cpu(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    words = [str(GPU / "run.sh"), str(tmp_path), "--rehearse"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {name: entry["state"] for name, entry in found.items()} == {
        part.name: "done" for part in parts.PARTS
    }
    assert all(entry["rows"] for entry in found.values())
    assert not [row for entry in found.values() for row in entry["rows"] if "error" in row]
    table = (tmp_path / "gpu.md").read_text()
    assert all(f"## {part.name}: {part.about}" in table for part in parts.PARTS)
