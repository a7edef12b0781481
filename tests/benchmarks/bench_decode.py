"""How fast a clip is decoded, beside the usual script's way and the ffmpeg program's floor.

(a) this pipeline: 10 frames at 224 x 224 and 48 kHz mono, with PyAV and with decord;
(b) the usual script: ffmpeg to JPEG files at 8 frames a second, PIL, ffmpeg to wav, librosa;
(c) the floor: the ffmpeg program decodes both streams and throws them away.

All on the same clips, one thread each, taking turns. Then (a) and (b) decode all clips, several at
a time; the last row has their wall and CPU ms a clip and the ratios:
``python tests/benchmarks/bench_decode.py [--repeats 7] [--processes 2] [CLIP ...]``
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import librosa
import numpy as np
from moving import KINDS, render
from PIL import Image

from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.media import SAMPLE_RATE
from pipeline.media.options import Decoding
from pipeline.media.segments import decode_video
from pipeline.media.video_window import VideoWindow

LLP_CLIP = Path(__file__).parents[3] / "shared" / "llp" / "BjCEufrlXm4.mp4"
Way = Callable[[Path], object]


def pipeline_way(decoder: str) -> Way:
    """Return (a)."""

    def decode(path: Path) -> object:
        return decode_video(VideoWindow(path.stem, str(path), 0.0, 10.0), Decoding(decoder=decoder))

    return decode


def script_way(path: Path) -> object:
    """Do (b)."""
    with tempfile.TemporaryDirectory() as folder:
        ffmpeg("-i", path, "-r", "8", "-threads", "1", f"{folder}/%04d.jpg")
        files = sorted(Path(folder).glob("*.jpg"))
        chosen = [files[place] for place in np.linspace(0, len(files) - 1, 10).round().astype(int)]
        frames = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in chosen]
        ffmpeg("-i", path, "-vn", "-threads", "1", f"{folder}/sound.wav")
        sound, _ = librosa.load(f"{folder}/sound.wav", sr=SAMPLE_RATE, mono=True)
        return frames, sound


def floor_way(path: Path) -> object:
    """Do (c)."""
    return ffmpeg("-i", path, "-map", "0:v:0", "-map", "0:a:0", "-threads", "1", "-f", "null", "-")


def ffmpeg(*words: str | Path) -> object:
    """Run the program with one thread for each decoder."""
    command = [ffmpeg_path(), "-nostdin", "-v", "error", "-threads", "1", "-filter_threads", "1"]
    return subprocess.run([*command, *map(str, words)], check=True)


WAYS: dict[str, Way] = {
    "a": pipeline_way("pyav"),
    "a decord": pipeline_way("decord"),
    "b script": script_way,
    "c floor": floor_way,
}


def cost(way: Way, path: Path) -> tuple[float, float]:
    """Return milliseconds of wall clock and of CPU, children's included."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    way(path)
    return (time.perf_counter() - wall) * 1e3, (cpu_seconds() - cpu) * 1e3


def cpu_seconds() -> float:
    """Return CPU seconds of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def together(pool: Executor, name: str, clips: Sequence[Path]) -> tuple[float, float]:
    """Return milliseconds of wall clock and of CPU a clip, several at a time."""
    began = time.perf_counter()
    costs = list(pool.map(partial(cost_of, name), clips))
    wall = (time.perf_counter() - began) * 1e3
    return wall / len(clips), sum(cpu for _, cpu in costs) / len(clips)


def cost_of(name: str, path: Path) -> tuple[float, float]:
    """Return a way's ``cost``, in a process of a pool."""
    return cost(WAYS[name], path)


def main() -> None:
    """Print medians in ms and ratios, a row a clip; CPU times are what a busy machine leaves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("clips", type=Path, nargs="*", help="by default synthesised ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = arguments.clips or [render(kind, Path(folder)) for kind in KINDS]
        if not arguments.clips and LLP_CLIP.exists():
            clips = [LLP_CLIP, *clips]
        columns = [f"{name} {what}" for name in WAYS for what in ("wall", "cpu")]
        print("clip", *columns, "b/a wall", "b/a cpu", "c/a wall", "c/a cpu", sep="\t")
        rows = []
        for clip in clips:
            for way in WAYS.values():
                way(clip)
            rounds = [[cost(way, clip) for way in WAYS.values()] for _ in range(arguments.repeats)]
            rows.append(np.median(rounds, axis=0))
            print_row(clip.name, rows[-1])
        print_row("sum", np.sum(rows, axis=0))
        with ProcessPoolExecutor(arguments.processes) as pool:
            rounds = [
                [together(pool, name, 2 * clips) for name in ("a", "b script")]
                for _ in range(arguments.repeats + 1)
            ][1:]
        ours, script = np.median(rounds, axis=0)
        costs, ratios = (f"{v:.0f}" for v in (*ours, *script)), (f"{v:.2f}" for v in script / ours)
        print(f"{arguments.processes} at a time", *costs, *ratios, sep="\t")


def print_row(name: str, medians: np.ndarray) -> None:
    """Print a clip's line; ``medians`` is ``[ways, (wall, cpu)]`` in ms."""
    ours, _, script, floor = medians
    ratios = [*(script / ours), *(floor / ours)]
    print(name, *(f"{v:.0f}" for v in medians.ravel()), *(f"{r:.2f}" for r in ratios), sep="\t")


if __name__ == "__main__":
    main()
