"""The screen of a workflow run: stages, progress, time left, failures; the rest is in log files."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import progress, run_display
from pipeline.core.run_display import RunDisplay

REPOSITORY = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Run:
    """Snakemake's events, as it logs them."""

    def __init__(self, stream: io.StringIO, folder: Path) -> None:
        self.display = RunDisplay(stream)
        self.stream, self.folder = stream, folder

    def event(self, name: str, **values: object) -> None:
        record = logging.makeLogRecord({"msg": "", "event": name, **values})
        self.display.handle(record)

    def start(self, rule: str, job: int, log: str = "") -> Path:
        path = self.folder / f"{rule}-{job}.log"
        path.write_text(log)
        self.event("job_info", rule_name=rule, jobid=job, log=[str(path)])
        return path

    def finish(self, job: int) -> None:
        self.event("job_finished", job_id=job)

    def fail(self, rule: str, job: int) -> None:
        log = [str(self.folder / f"{rule}-{job}.log")]
        self.event("job_error", rule_name=rule, jobid=job, log=log)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(io.StringIO(), tmp_path)
    run.event("run_info", stats={"segments": 2, "report": 1, "all": 1, "total": 4})
    return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(run_display.time, "monotonic", lambda: now[0])
    return now


def test_a_stage_has_one_line_when_all_its_jobs_are_done(run: Run, clock: list[float]) -> None:
    run.start("segments", 1)
    run.start("segments", 2)
    run.finish(1)
    clock[0] += 240
    run.finish(2)
    run.start("report", 3)
    run.finish(3)
    run.event("job_info", rule_name="all", jobid=0, log=[])
    run.finish(0)
    assert run.stream.getvalue().splitlines() == [
        "4 jobs in 3 stages",
        "[2/4] segments, 2 jobs: 4 min",
        "[3/4] report: 0 s",
    ]


def test_the_time_left_is_that_of_finished_jobs_or_of_the_jobs_log(
    run: Run, clock: list[float]
) -> None:
    log = run.start("segments", 1)
    clock[0] += 20
    assert run.display.running_text(clock[0]) == "segments 0/2 jobs, for 20 s"
    log.write_text("06:04:09 INFO demo 99/400 videos, 3.3/s, 91 s left\n06:04:10 INFO other\n")
    assert run.display.running_text(clock[0]) == (
        "segments 0/2 jobs, demo 99/400 videos, 3.3/s, 91 s left"
    )
    run.start("segments", 2)
    run.finish(1)
    clock[0] += 40
    assert run.display.running_text(clock[0]) == "segments 1/2 jobs, about 60 s left"


def test_a_failed_job_says_why_once(run: Run) -> None:
    run.start("segments", 1, "06:04:09 INFO a\nerror: 'x' is missing; add it.\n")
    run.start("report", 3, "\n".join(f"line {i}" for i in range(50)))
    for _ in range(2):  # Snakemake repeats failures at the end
        run.fail("segments", 1)
    run.fail("report", 3)
    lines = run.stream.getvalue().splitlines()
    assert lines[1].startswith("segments failed; its log: ")
    assert lines[2] == "    error: 'x' is missing; add it."
    assert lines[3].startswith("report failed")
    assert lines[4:] == [f"    line {i}" for i in range(35, 50)]


def test_a_terminal_has_one_line_in_place(tmp_path: Path) -> None:
    run = Run(Terminal(), tmp_path)
    run.event("run_info", stats={"report": 1, "total": 1})
    run.start("report", 1)
    run.display._show("report, for 3 s")
    run.finish(1)
    assert run.stream.getvalue().split("\n")[1].split("\r") == [
        "report, for 3 s",
        " " * len("report, for 3 s"),
        "[1/1] report: 0 s",
    ]


def test_a_log_tells_how_long_a_stage_still_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    ticks = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    with caplog.at_level(logging.INFO, logger="pipeline"):
        assert list(progress.track("abc", 3, "segments")) == ["a", "b", "c"]
    assert caplog.messages[0] == "segments 1/3 videos, 0.1/s, 20 s left"
    log = tmp_path / "log"
    log.write_text(f"06:04:09 INFO {caplog.messages[0]}\n")
    assert run_display.progress_of([str(log)]) == caplog.messages[0]


def test_a_run_with_the_local_profile_shows_stages_and_keeps_its_log(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "my.yaml").write_text(
        "preset: llp\ndataset: {name: mine, source: local, annotations: tables, videos: tables}\n"
    )
    for table in ("train", "val_pd", "test_pd", "eval_audio", "eval_visual"):
        (tmp_path / f"tables/AVVP_{table}.csv").write_text("filename\na_0_10\n")
    words = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "my.yaml"]
    words += ["--workflow-profile", str(REPOSITORY / "workflow/profiles/local")]
    words += ["--cores", "1", "--", "annotations"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "\nannotations failed; its log: logs/annotations.log\n    error: " in done.stderr
    for noise in ("Building DAG", "Select jobs", "jobid", "reason", "exit status"):
        assert noise not in done.stderr
    (log,) = (tmp_path / ".snakemake/log").iterdir()
    assert "jobid: " in log.read_text()
