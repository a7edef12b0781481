"""Whose lock it is that lies in a run's folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.locks import LOCKS_FOLDER, RUNNING_FILE, hold, note_submission

HOLD = (
    "import sys, pathlib; from pipeline.core.locks import hold; hold(pathlib.Path(sys.argv[1]));"
    "print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which a run has been, and left its lock."""
    os.close(hold(tmp_path))
    lock(tmp_path)
    return tmp_path


@pytest.fixture
def other(folder: Path, repository: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that holds the folder before the lock is left."""
    for left in (folder / LOCKS_FOLDER).iterdir():
        left.unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    lock(folder)
    yield process
    process.kill()
    process.wait()


def lock(folder: Path) -> None:
    (folder / LOCKS_FOLDER).mkdir(exist_ok=True)
    (folder / LOCKS_FOLDER / "0.output.lock").write_text("results/x\n")


def is_locked(folder: Path) -> bool:
    return (folder / LOCKS_FOLDER / "0.output.lock").is_file()


def test_a_lock_that_nobody_holds_is_removed(folder: Path) -> None:
    os.close(hold(folder))
    assert not is_locked(folder)


@pytest.mark.usefixtures("other")
def test_a_run_at_work_keeps_its_lock(folder: Path) -> None:
    os.close(hold(folder))
    os.close(hold(folder))
    assert is_locked(folder)


def test_a_killed_run_loses_it(folder: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    os.close(hold(folder))
    assert not is_locked(folder)


def test_a_run_of_another_machine_keeps_it(folder: Path) -> None:
    (folder / RUNNING_FILE).write_text("another-machine")
    os.close(hold(folder))
    os.close(hold(folder))
    assert is_locked(folder)


def test_a_run_that_submitted_its_jobs_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = hold(tmp_path)
    lock(tmp_path)
    note_submission(killed)
    os.close(killed)
    for _ in range(2):
        os.close(hold(tmp_path))
        assert is_locked(tmp_path)
    assert "cancel them, then add --unlock to this command once" in caplog.text


def test_a_run_after_one_that_submitted_its_jobs_is_like_any_other(tmp_path: Path) -> None:
    submitting = hold(tmp_path)
    note_submission(submitting)
    os.close(submitting)
    os.close(hold(tmp_path))
    lock(tmp_path)
    os.close(hold(tmp_path))
    assert not is_locked(tmp_path)


def test_a_lock_from_before_is_left(tmp_path: Path) -> None:
    lock(tmp_path)
    os.close(hold(tmp_path))
    assert is_locked(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot be written"):
        hold(tmp_path / "file")
