"""Faults of whole runs: the same command then gives an undisturbed run's bytes."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kill_loop import KillLoop, kill_tree, plan, stage_seconds, stages_at_work
from small_run import SmallRun, differences

pytestmark = [pytest.mark.extended, pytest.mark.timeout(1200)]

# Those whose process starts in a second or two; kill_loop.py alone kills in every stage.
QUICK_STAGES = ("demo", "segments", "pseudo-labels", "train", "evaluate-model")
KILLS = 7  # the fewest in which every kind of process is killed


@pytest.fixture
def copy(undisturbed: SmallRun) -> SmallRun:
    """A run that is as far as the undisturbed one, but for the report.

    Where the last result is there, Snakemake asks for nothing before it.
    """
    copy = undisturbed.copy()
    shutil.rmtree(copy.folder / "results/report")
    return copy


def wait_for_stage(process: subprocess.Popen[bytes], stage: str) -> psutil.Process:
    while process.poll() is None:
        for name, at_work in stages_at_work(process.pid):
            if name == stage:
                return at_work
        time.sleep(0.02)
    raise AssertionError(f"{stage} never ran")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[tuple[SmallRun, subprocess.Popen[bytes]]]:
    """A run that is at work on the corpus, and stays so: its stage is stopped."""
    run = SmallRun.create(tmp_path)
    process = run.start("demo_corpus")
    wait_for_stage(process, "demo").suspend()
    yield run, process
    if process.poll() is None:
        kill_tree(psutil.Process(process.pid))
        process.wait()


def test_killed_at_random_moments(undisturbed: SmallRun, tmp_path: Path) -> None:
    targets = plan(KILLS, seed=0, stages=QUICK_STAGES)
    seconds, expected = stage_seconds(undisturbed), undisturbed.results()
    loop = KillLoop(tmp_path, targets, seconds, expected)
    loop.go()
    assert loop.hits.total() == KILLS
    assert loop.differing == []


def test_a_second_run_is_refused_and_a_killed_one_is_unlocked(
    first: tuple[SmallRun, subprocess.Popen[bytes]],
) -> None:
    run, process = first
    assert run.run("demo_corpus") == 1
    assert "Directory cannot be locked. Please make sure that no other Snakemake" in run.said
    assert process.poll() is None, "the first run goes on"
    kill_tree(psutil.Process(process.pid))
    process.wait()
    assert run.run("demo_corpus") == 1, "Snakemake cannot know that it was killed"
    assert run.run("--unlock") == 0
    assert run.run("demo_corpus") == 0, run.said
    assert len(list((run.folder / "resources/demo/videos").glob("*.mp4"))) == 12


def test_a_disk_that_fills_up_while_a_model_is_trained(
    copy: SmallRun, undisturbed: SmallRun
) -> None:
    folder = copy.folder / "results/models/link/seed0"
    shutil.rmtree(folder)
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        assert copy.run("train") == 1
        said = (copy.folder / "logs/train_parser/models/link-seed0.log").read_text()
        assert "cannot be written (No space left on device); free some space" in said
        assert "Traceback" not in said
        assert [path for path in folder.iterdir() if path.is_file()] == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        assert copy.run() == 0, copy.said
        assert differences(copy.results(), undisturbed.results()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_shard_that_changed_on_disk_is_named_and_made_anew(
    copy: SmallRun, undisturbed: SmallRun
) -> None:
    shard = next(copy.folder.glob("results/features/clip-*/1-of-1.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    assert copy.run("--forcerun", "pseudo_labels", "--until", "pseudo_labels") == 1
    assert f"{shard.parent.name}/1-of-1.safetensors' has changed since it was written" in copy.said
    shard.unlink()
    assert copy.run("pseudo_labels") == 0, copy.said
    # What is made of the same labels is the same, as the test before shows.
    expected = undisturbed.results()
    found = copy.results()
    remade = ("results/features/", "results/pseudo_labels/")
    assert [name for name in differences(found, expected) if name.startswith(remade)] == []
