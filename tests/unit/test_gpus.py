import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.core import gpus as devices
from pipeline.core.errors import PipelineError
from pipeline.core.gpus import VISIBLE, claimed_gpus, lock_folder, visible_gpus

REPOSITORY = Path(__file__).resolve().parents[2]
# Claims GPUs, says which on one line, and holds them for a while or until its input ends.
HOLDER = """
import os, sys, time
from pathlib import Path
from pipeline.core.gpus import claimed_gpus
with claimed_gpus(int(sys.argv[1]), Path(sys.argv[2])) as gpus:
    print(time.monotonic(), *gpus, flush=True)
    time.sleep(float(sys.argv[3])) if len(sys.argv) > 3 else sys.stdin.read()
    print(time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def _four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, of which no driver's tool tells more than their numbers."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv(VISIBLE, "0,1,2,3")
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's tool that knows two GPUs, and a slice of the second."""
    monkeypatch.undo()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        '#!/bin/sh\n[ "$1" = -L ] && cat <<END\n'
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa1111-0000-0000-0000-000000000000)\n"
        "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb2222-0000-0000-0000-000000000000)\n"
        "  MIG 1g.5gb      Device  0: (UUID: MIG-cccc3333-0000-0000-0000-000000000000)\n"
        "END\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)


def holder(wanted: int, folder: Path, *seconds: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLDER, str(wanted), str(folder), *seconds]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(words, cwd=REPOSITORY, text=True, **pipes)


def gpus_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()[1:]


def test_a_claim_hides_the_other_gpus_and_ends_with_its_block(tmp_path):
    with claimed_gpus(2, tmp_path) as first, claimed_gpus(1, tmp_path / "other"):
        assert first == ["0", "1"]
        assert os.environ[VISIBLE] == "0"
    assert os.environ[VISIBLE] == "0,1,2,3"
    with claimed_gpus(1, tmp_path) as again:
        assert again == ["0"]


def test_many_processes_never_share_a_gpu(tmp_path):
    processes = [holder(1 + index % 2, tmp_path, "0.05") for index in range(24)]
    claims = []
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        taken, returned = said.splitlines()
        start, *gpus = taken.split()
        claims += [(gpu, float(start), float(returned)) for gpu in gpus]
    assert len(claims) == 12 * 1 + 12 * 2
    assert {gpu for gpu, _, _ in claims} == {"0", "1", "2", "3"}
    for gpu in "0123":
        mine = sorted((start, end) for name, start, end in claims if name == gpu)
        assert all(end <= start for (_, end), (start, _) in pairwise(mine))


def test_kill_frees_a_gpu_and_who_waits_gets_it(tmp_path):
    holders = [holder(2, tmp_path), holder(2, tmp_path)]
    held = [gpus_of(process) for process in holders]
    assert sorted(held[0] + held[1]) == ["0", "1", "2", "3"]
    waiting = holder(1, tmp_path)
    time.sleep(0.5)
    holders[1].send_signal(signal.SIGKILL)
    assert set(gpus_of(waiting)) < set(held[1])
    for process in (*holders, waiting):
        process.communicate(timeout=60)


def test_who_wants_more_than_there_are_gets_all_and_no_gpu_is_no_claim(tmp_path, monkeypatch):
    with claimed_gpus(9, tmp_path) as claimed:
        assert claimed == ["0", "1", "2", "3"]
    monkeypatch.setenv(VISIBLE, "")
    with claimed_gpus(1, tmp_path) as claimed:
        assert claimed == []
    with claimed_gpus(None, tmp_path) as claimed:
        assert claimed == []
    assert os.environ[VISIBLE] == ""


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,0", ["1"]),
        ("1,,0", ["1"]),
        (" GPU-aa, MIG-bb", ["GPU-aa", "MIG-bb"]),
    ],
)
def test_names_count_up_to_the_first_that_is_no_gpu(monkeypatch, named, seen):
    monkeypatch.setenv(VISIBLE, named)
    assert visible_gpus() == seen


@pytest.mark.usefixtures("nvidia_smi")
@pytest.mark.parametrize(
    ("first", "second", "free"),
    [
        ("0", "GPU-aaaa1111-0000-0000-0000-000000000000", False),
        ("GPU-bbbb", "1", False),
        ("0", "GPU-bbbb2222-0000-0000-0000-000000000000", True),
        ("1", "MIG-cccc3333-0000-0000-0000-000000000000", True),
    ],
)
def test_a_gpu_is_one_however_it_is_called(monkeypatch, tmp_path, first, second, free):
    waiting = SimpleNamespace(sleep=lambda _seconds: pytest.fail("it waits"))
    monkeypatch.setattr(devices, "time", waiting)
    monkeypatch.setenv(VISIBLE, first)
    with claimed_gpus(1, tmp_path) as claimed:
        assert claimed == [first]
        monkeypatch.setenv(VISIBLE, second)
        if free:
            with claimed_gpus(1, tmp_path) as other:
                assert other == [second]
        else:
            with pytest.raises(pytest.fail.Exception, match="it waits"), claimed_gpus(1, tmp_path):
                pass


@pytest.mark.usefixtures("nvidia_smi")
def test_a_gpu_that_is_named_twice_is_claimed_once(monkeypatch, tmp_path):
    monkeypatch.setenv(VISIBLE, "0,GPU-aaaa1111,0")
    with claimed_gpus(2, tmp_path) as claimed:
        assert claimed == ["0"]


def test_all_of_the_machine_are_visible_unless_some_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2", "3"]
    monkeypatch.setenv(VISIBLE, " GPU-aa, GPU-bb")
    assert visible_gpus() == ["GPU-aa", "GPU-bb"]
    monkeypatch.delenv(VISIBLE)
    assert visible_gpus() == ["0", "1", "2"]


def test_locks_lie_in_one_place_whatever_the_temporary_folder(monkeypatch, tmp_path):
    before = lock_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert lock_folder() == before
    assert before.parent.is_dir()


def test_a_folder_of_locks_that_is_not_ones_own_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PipelineError, match=r"file' cannot be written .*remove it"),
        claimed_gpus(1, tmp_path / "file"),
    ):
        pass


def test_an_allocation_has_locks_of_its_own(monkeypatch):
    machine = lock_folder()
    monkeypatch.setenv("SLURM_JOB_ID", "7/x")
    assert lock_folder() != machine
    assert lock_folder().parent == machine.parent
