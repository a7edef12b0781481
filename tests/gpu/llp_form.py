"""Clips of LLP's form, and the tables that name them: few are rendered, and linked under names."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from harness import CORES, REHEARSAL
from moving import X264, Kind, render

from pipeline.core.vocabulary import read_vocabulary
from pipeline.demo.corpus import write_demo_tables
from pipeline.demo.scripts import write_scripts

REPOSITORY = Path(__file__).resolve().parents[2]
LLP_VIDEOS, LLP_SHARDS = 11_849, 64
# Ten seconds of h264 and aac at 30 frames a second. YouTube's 360p files of 2010 to 2017 are about
# as large; a third of LLP's are smaller.
SIZES = ((96, 64), (64, 64)) if REHEARSAL else ((320, 240), (640, 360))
KINDS = [
    Kind(f"h264-{width}x{height}.mp4", (width, height), options=(*X264.items(), ("g", "250")))
    for width, height in SIZES
]


@dataclass(frozen=True)
class Clips:
    """A folder of videos and one of tables."""

    videos: Path
    annotations: Path

    @property
    def words(self) -> list[str]:
        """Return the arguments that name both."""
        return ["--annotations", str(self.annotations), "--videos", str(self.videos)]


def rendered() -> list[Path]:
    """Return one clip of each kind, rendered by the first part that asks."""
    folder = Path(os.environ["SCRATCH"]) / "rendered"
    folder.mkdir(exist_ok=True)
    wanted = [kind for kind in KINDS if not (folder / kind.name).exists()]
    with ProcessPoolExecutor(min(CORES, 4), get_context("spawn")) as pool:
        list(pool.map(render_whole, wanted, [folder] * len(wanted)))
    return [folder / kind.name for kind in KINDS]


def render_whole(kind: Kind, folder: Path) -> None:
    """Render a clip elsewhere and move it here, so that half a clip is never taken for one."""
    elsewhere = folder / f"making-{kind.name}"
    elsewhere.mkdir(exist_ok=True)
    render(kind, elsewhere).replace(folder / kind.name)


def make_clips(folder: Path, count: int, sources: Sequence[Path]) -> Clips:
    """Write tables of ``count`` videos, and link their files to ``sources`` in turn."""
    rest = max(1, count // 10)
    scripts = write_scripts(0, {"train": count - 2 * rest, "val": rest, "test": rest})
    clips = Clips(folder / "videos", folder / "annotations")
    write_demo_tables(clips.annotations, scripts, read_vocabulary())
    clips.videos.mkdir(parents=True)
    for row, script in enumerate(scripts):
        (clips.videos / f"{script.filename}.mp4").hardlink_to(sources[row % len(sources)])
    return clips


@dataclass
class Job:
    """A command of the pipeline in a process of its own, as a rule runs it."""

    words: list[str]

    def __post_init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *self.words],
            cwd=REPOSITORY,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> tuple[float, str]:
        """Return the seconds it took, and what it logged; raise if it failed."""
        _, log = self.process.communicate()
        print(log, flush=True)
        if self.process.returncode:
            raise RuntimeError(f"{self.words[0]} failed: {log[-300:]}")
        return time.perf_counter() - self.began, log


def run_jobs(several: Sequence[Sequence[str]]) -> tuple[float, list[str]]:
    """Run jobs side by side; return the seconds until the last has ended, and their logs."""
    began = time.perf_counter()
    jobs = [Job(list(words)) for words in several]
    logs = [job.wait()[1] for job in jobs]
    return time.perf_counter() - began, logs


def segments_words(clips: Clips, folder: Path, shard: str, workers: int) -> list[str]:
    """Return the words of the stage that decodes a shard."""
    return [
        *("segments", *clips.words, "--shard", shard, "--workers", str(workers)),
        *(["--frame-size", "64"] if REHEARSAL else []),
        *("--out", str(folder / f"{shard}.safetensors")),
        *("--status", str(folder / f"{shard}.status.tsv")),
    ]
