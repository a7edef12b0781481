"""Whole download runs against a local site: what is asked for, what is kept, what is said."""

import contextlib
import fcntl
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import pytest
from video_site import STATUSES, Folder, VideoSite, frames_in, names_of

from pipeline.cli import main
from pipeline.core.errors import Status
from pipeline.data.download.responses import PASSING, PERMANENT
from pipeline.data.download.run import LOCK_NAME
from pipeline.data.manifest import list_videos

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_first_sign_of_blocking_ends_the_run(
    server: VideoSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = names_of(5)
    server.moods[names[1][:11]] = "bot"
    folder = Folder(tmp_path, names, server)
    assert folder.run() == 2
    said = capsys.readouterr()
    assert "stopped at '__________1_1_3', 2 of 5: the site blocks further requests" in said.err
    assert "train 1/3 videos; rate_limited 1, missing 1" in said.out
    assert sum(server.asked.values()) == 2
    assert folder.statuses == {names[0]: "ok", names[1]: "rate_limited"}
    server.moods.clear()
    assert folder.run() == 0
    assert set(folder.statuses.values()) == {Status.OK}
    assert sum(server.asked.values()) == 4


def test_many_videos_with_injected_failures(server: VideoSite, tmp_path: Path) -> None:
    """70 % come; the others get their status, and a rerun asks for those that may come yet."""
    count = 40
    names = names_of(count)
    generator = random.Random(0)
    failing = generator.sample(names, count * 3 // 10)
    quick = [mood for mood in STATUSES if mood != "slow"]
    moods = dict(zip(failing, ["slow", *quick * 6], strict=False))
    assert set(moods.values()) == set(STATUSES)
    server.moods = {name[:11]: mood for name, mood in moods.items()}
    server.slow_seconds = 5.0  # beyond the patience of 3 s that a busy machine needs
    folder = Folder(tmp_path, names, server)
    assert folder.run("--attempts", "2", "--stop-after", "1000") == 0

    expected = {name: STATUSES[moods[name]] if name in moods else Status.OK for name in names}
    assert folder.statuses == expected
    requests = {name[:11]: 2 if status in PASSING else 1 for name, status in expected.items()}
    assert server.asked == requests
    assert {path.stem for path in folder.videos.glob("*.mp4")} == set(names) - set(failing)
    assert {row[0]: row[2] for row in folder.table("missing.tsv")} == {
        name: expected[name] for name in failing
    }
    there = Counter(
        row.split for row in list_videos(folder.annotations, folder.videos, 1) if row.path
    )
    totals = {"train": count - 2, "val": 1, "test": 1}
    assert folder.table("coverage.tsv") == [
        [split, str(there[split]), str(total)] for split, total in totals.items()
    ]

    transient = {name for name in failing if expected[name] not in PERMANENT}
    healed = set(sorted(transient)[::2])
    for name in healed:
        del server.moods[name[:11]]
    assert folder.run("--attempts", "1", "--stop-after", "1000") == 0
    assert server.asked == {name[:11]: 1 for name in transient}
    assert folder.statuses == expected | dict.fromkeys(healed, Status.OK)

    assert folder.run("--retry", "none") == 0
    assert not server.asked


def test_a_folder_of_ones_own_needs_no_download(
    server: VideoSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    names = names_of(4)
    folder = Folder(tmp_path, names, server)
    folder.videos.mkdir()
    (folder.videos / f"{names[0]}.mp4").write_bytes(b"the clip")
    (folder.videos / f"{names[1][:11]}.webm").write_bytes(b"named by the id")
    for name in names[2:]:
        (folder.videos / f"{name}.mkv").write_bytes(b"another container")
    assert folder.run() == 0
    assert "test  1/1 videos\n" in capsys.readouterr().out
    (folder.videos / f"{names[0]}.mp4").unlink()
    assert folder.run("--list") == 0, "a list needs no yt-dlp"
    assert folder.table("missing.tsv")[0][:3] == [names[0], "train", "missing"]
    assert folder.run() == 2
    assert "needs yt-dlp, which is not installed; install it with" in capsys.readouterr().err
    assert not server.asked


def test_the_pages_have_every_status() -> None:
    page = (REPOSITORY / "docs/how-to/download-videos.md").read_text(encoding="utf-8")
    troubles = (REPOSITORY / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
    for status in Status:
        assert f"| `{status}` |" in page + troubles, status
    asked_again = dict(re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", page, re.MULTILINE))
    asked_again.pop("missing")
    assert {status for status, again in asked_again.items() if again == "no"} == PERMANENT


def test_two_runs_do_not_fill_one_folder(
    server: VideoSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path, names_of(3), server)
    folder.videos.mkdir()
    with (folder.videos / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert folder.run() == 2
    assert "another run is downloading into" in capsys.readouterr().err
    assert not server.asked
    assert folder.run() == 0


def test_what_another_run_got_meanwhile_is_not_asked_for(
    server: VideoSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run ends right before this one, which has made its plan, gets the lock."""
    names = names_of(4)
    server.moods[names[1][:11]] = "private"
    folder = Folder(tmp_path, names, server)
    flock, words = fcntl.flock, [*folder.words(), "--retry", "none"]

    def late(file: IO[str], kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        assert main(folder.words()) == 0
        flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    assert main(words) == 0
    assert set(server.asked.values()) == {1}
    assert folder.statuses == dict.fromkeys(names, "ok") | {names[1]: "private"}


def test_a_folder_that_cannot_be_filled_is_a_sentence(
    server: VideoSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path, names_of(3), server)
    (folder.videos / LOCK_NAME).mkdir(parents=True)
    assert folder.run() == 2
    assert "is not writable" in capsys.readouterr().err
    (folder.videos / LOCK_NAME).rmdir()
    folder.videos.rmdir()
    folder.videos.write_text("a file")
    assert folder.run() == 2
    assert "cannot find the video folder" in capsys.readouterr().err
    assert not server.asked


@pytest.mark.parametrize("link", [".downloading", f".downloading/{names_of(1)[0]}.mp4.part"])
def test_links_that_came_with_a_folder_are_not_written_through(
    server: VideoSite, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("as it was")
    folder = Folder(tmp_path, names_of(3), server)
    (folder.videos / link).parent.mkdir(parents=True)
    (folder.videos / link).symlink_to(outside if link == ".downloading" else outside / "kept")
    assert folder.run() == 0
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "as it was"
    assert len(list(folder.videos.glob("*.mp4"))) == 3


def test_a_run_that_is_killed_again_and_again_loses_nothing(
    server: VideoSite, tmp_path: Path
) -> None:
    names = names_of(12)
    server.moods[names[3][:11]] = "private"
    folder = Folder(tmp_path, names, server)
    command = [sys.executable, "-m", "pipeline", *folder.words()]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    generator = random.Random(0)
    for _ in range(4):
        run = subprocess.Popen(
            command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 20
        before = sum(server.asked.values())
        while sum(server.asked.values()) == before and run.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(generator.uniform(0, 0.8))
        with contextlib.suppress(ProcessLookupError):  # it may be through
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        for path in folder.videos.glob("*.mp4"):
            assert frames_in(path) == list(range(10, 30))
    assert main(folder.words()) == 0
    assert {path.stem for path in folder.videos.glob("*.mp4")} == {*names} - {names[3]}
    assert all(frames_in(path) == list(range(10, 30)) for path in folder.videos.glob("*.mp4"))
    assert server.asked.total() <= len(names) + 4, "a kill costs the video that was under way"
    assert not (folder.videos / ".downloading").exists()
