"""Faults of one stage: a disk that is full or closed, a video that vanishes, a worker that dies."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip

from pipeline.cli import main
from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.files import atomic_path, write_text
from pipeline.core.shards import Shard, read_shard, read_status, write_shard
from pipeline.demo.corpus import make_corpus
from pipeline.media.options import Decoding
from pipeline.media.segments import run_shard
from pipeline.media.video_window import VideoWindow
from pipeline.media.worker import run_isolated


@dataclass(frozen=True)
class Disk:
    """A file system of its own, of 256 kB."""

    folder: Path

    def fill(self) -> None:
        with (self.folder / "ballast").open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))

    def free(self) -> None:
        (self.folder / "ballast").unlink()

    def close(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def open(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.name != "ballast"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


BIG = np.zeros((1, 10, 20_000), np.float32)


def save_state(path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save({"weights": torch.zeros(200_000)}, file)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 500_000),
    "shard": lambda path: write_shard(path, Shard(("a",), {"map": BIG})),
    "training state": save_state,
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(disk: Disk, what: str) -> None:
    path = disk.folder / "results" / "file"
    with pytest.raises(PipelineError, match=r"file' cannot be written \(No space left .*\); free"):
        WRITERS[what](path)
    assert disk.files() == ["results"]


@pytest.mark.parametrize("what", WRITERS)
def test_an_old_file_outlives_a_full_disk(disk: Disk, what: str) -> None:
    path = disk.folder / "file"
    path.write_text("before")
    with pytest.raises(PipelineError):
        WRITERS[what](path)
    assert path.read_text() == "before"
    assert disk.files() == ["file"]


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_system_that_is_read_only_is_one_sentence(disk: Disk, what: str) -> None:
    disk.close()
    with pytest.raises(PipelineError, match=r"cannot be written \(Read-only .*make its folder"):
        WRITERS[what](disk.folder / "file")
    with pytest.raises(PipelineError, match=r"cannot be written \(Read-only .*make its folder"):
        WRITERS[what](disk.folder / "results" / "file")


def test_a_folder_of_another_user_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(PipelineError, match=r"cannot be written \(Permission denied\)"):
        write_text(tmp_path / "closed" / "file", "x")


def test_a_stage_on_a_full_disk_ends_with_2_and_then_carries_on(
    disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--seed", "5", "--train", "2", "--val", "1", "--test", "1", "--workers", "1"]
    disk.fill()
    assert main([*words, "--out", str(disk.folder)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert "No space left on device" in said
    assert set(disk.files()) <= {"videos"}
    disk.free()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk.folder)], check=True)
    assert main([*words, "--out", str(disk.folder)]) == 0
    make_corpus(tmp_path / "other", 5, {"train": 2, "val": 1, "test": 1}, 1)
    assert contents(disk.folder) == contents(tmp_path / "other")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows_of(folder: Path, count: int) -> list[VideoWindow]:
    clip = write_clip(folder / "clip.mp4", seconds=2, fps=10)
    names = [f"{'_' * 10}{number}_0_2" for number in range(count)]
    for name in names:
        (folder / f"{name}.mp4").write_bytes(clip.read_bytes())
    return [VideoWindow(name, str(folder / f"{name}.mp4"), 0.0, 2.0) for name in names]


def test_a_video_that_vanishes_after_the_manifest_is_one_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 3)
    Path(rows[1].path).unlink()
    out, table = tmp_path / "1-of-1.safetensors", tmp_path / "1-of-1.status.tsv"
    run_shard(rows, Decoding(segments=2, frame_size=16), 1, out, table)
    statuses = {row.filename: (row.kept, row.status) for row in read_status(table)}
    assert statuses == {
        rows[0].name: (True, Status.OK),
        rows[1].name: (False, Status.MISSING),
        rows[2].name: (True, Status.OK),
    }
    assert read_shard(out).names == (rows[0].name, rows[2].name)


def die_once(item: tuple[Path, str]) -> str:
    mark, name = item
    if name == "dies" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def die(item: tuple[Path, str]) -> str:
    with item[0].open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_a_killed_workers_video_is_tried_again(tmp_path: Path) -> None:
    items = [(tmp_path / "mark", name) for name in ("a", "dies", "b")]
    assert sorted(run_isolated(die_once, items, 1, 60.0)) == [(0, "a"), (1, "dies"), (2, "b")]


def test_a_video_that_kills_its_worker_is_tried_twice_and_is_a_row(tmp_path: Path) -> None:
    [(_, outcome)] = run_isolated(die, [(tmp_path / "tries", "a")], 1, 60.0)
    assert isinstance(outcome, ItemError)
    assert outcome.status == Status.CRASHED
    assert "SIGKILL" in outcome.detail
    assert (tmp_path / "tries").read_text() == "xx"


def refuse(item: str) -> str:
    raise PipelineError(f"'{item}' cannot be written.")


def test_a_mistake_in_a_worker_ends_the_stage() -> None:
    with pytest.raises(PipelineError, match="'a' cannot be written"):
        list(run_isolated(refuse, ["a"], 1, 60.0))
