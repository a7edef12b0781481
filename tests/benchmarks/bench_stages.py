"""What every stage after the encoders takes at LLP's size: seconds, CPU seconds, peak memory.

``python tests/benchmarks/bench_stages.py [--share 1.0] [--epochs 1] [--threads 2] [--folder DIR]``
simulates a corpus of LLP's splits (10,000, 649 and 1,200 videos, or a share of them, drawn from
LLP's own counts) and its features in LLP's sizes (CLIP 768, CLAP 512 and 768; 1 GB of disk), runs
each stage's command on it as the workflow does, the methods with LLP's recipes, and prints one row
a stage. What decoding and encoding take a video is measured by the other benchmarks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import numpy as np

from pipeline.core.errors import Status
from pipeline.core.shards import Shard, StatusRow, write_shard, write_status
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.manifest import shard_of
from pipeline.demo.corpus import write_demo_tables
from pipeline.demo.scripts import VideoScript, write_scripts

COUNTS = {"train": 10_000, "val": 649, "test": 1_200}
SHARDS, T = 64, 10
# Array to its dimension, by encoder; and how loud the noise is beside a class's direction.
ARRAYS = {"clip": {"embedding": 768}, "clap": {"embedding": 512, "map": 768}}
MODALITY = {"clip": "visual", "clap": "audio"}
NOISE = 1.0


@dataclass(frozen=True)
class Run:
    """A folder as a run leaves it after the encoders."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def simulate(self, share: float) -> None:
        """Write tables, empty video files, features, prompts and status tables."""
        scripts = write_scripts(0, {split: round(share * n) for split, n in COUNTS.items()})
        vocabulary = read_vocabulary()
        write_demo_tables(self.folder / "annotations", scripts, vocabulary)
        (self.folder / "videos").mkdir()
        for script in scripts:
            (self.folder / "videos" / f"{script.filename}.mp4").touch()
        for encoder in ARRAYS:
            self._write_features(encoder, scripts, vocabulary.names)

    def _write_features(
        self, encoder: str, scripts: list[VideoScript], names: tuple[str, ...]
    ) -> None:
        """Write an encoder's shards: each class's own direction where it happens, and noise."""
        random = np.random.default_rng(len(ARRAYS[encoder]))
        classes = {
            key: unit(random.standard_normal((len(names), size)))
            for key, size in ARRAYS[encoder].items()
        }
        folder = self.folder / "features" / f"{encoder}-0123456789"
        meta = {"encoder": encoder, "fingerprint": "0123456789", "segments": str(T)}
        prompts = Shard(names, {"text": classes["embedding"]}, meta | {"logit_scale": "100.0"})
        write_shard(folder / "prompts.safetensors", prompts)
        for index in range(1, SHARDS + 1):
            of_shard = [each for each in scripts if shard_of(each.filename, SHARDS) == index]
            truth = happening(of_shard, MODALITY[encoder], names)
            made = {
                key: unit(truth @ axis + NOISE * unit(noise(random, len(truth), axis)))
                for key, axis in classes.items()
            }
            filenames = tuple(script.filename for script in of_shard)
            path = folder / f"{index}-of-{SHARDS}.safetensors"
            write_shard(path, Shard(filenames, made, meta))
            rows = [StatusRow(name, True, Status.OK) for name in filenames]
            write_status(path.with_suffix(".status.tsv"), rows)

    def stages(self, epochs: int, threads: int) -> dict[str, list[str]]:
        """Return every stage's words, in order."""
        clip, clap = (self.path(f"features/{name}-0123456789") for name in ARRAYS)
        tables = ["--annotations", self.path("annotations")]
        features = ["--features", self.path("features"), *tables]
        devices = ["--device", "cpu", "--threads", str(threads)]
        stages = {
            "annotations": ["annotations", *tables, "--out", self.path("check.tsv")],
            "manifest": [
                *("manifest", *tables, "--videos", self.path("videos")),
                *("--shards", str(SHARDS), "--out", self.path("manifest.tsv")),
            ],
            "features-verify": ["features-verify", clip],
            "pseudo-labels": [
                *("pseudo-labels", "--clip", clip, "--clap", clap, *tables),
                *("--thresholds", "calibrated", "--out", self.path("pseudo_labels")),
            ],
        }
        models = [self.path(f"models/{method}/seed0") for method in ("link", "valorpp")]
        for method, model in zip(("link", "valorpp"), models, strict=True):
            short = [f"epochs={epochs}", "warmup_epochs=0", "learning_rate=0.001"]
            options = [word for option in short for word in ("--option", option)]
            train = ["train", "--method", method, *features, *devices, *options, "--fit-only"]
            split = ["--split", "val", "test"]
            predict = ["predict", "--checkpoint", model, *features, *devices, *split]
            stages |= {
                f"train, {method}": [*train, "--out", model],
                f"predict, {method}": [*predict, "--out", model],
                f"evaluate-model, {method}": ["evaluate-model", "--model", model, *tables],
            }
        statuses = sorted(str(path) for path in self.folder.glob("features/*/*.status.tsv"))
        labels = ["--pseudo-labels", self.path("pseudo_labels")]
        report = ["report", "--models", self.path("models"), *labels, *tables]
        stages["compare"] = [
            *("compare", "--models", *models, *tables, "--out", self.path("compare")),
        ]
        stages["report"] = [*report, "--statuses", *statuses, "--out", self.path("report")]
        return stages


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def noise(random: np.random.Generator, videos: int, axis: np.ndarray) -> np.ndarray:
    """Return normal numbers for every segment, of a class direction's dimension."""
    return random.standard_normal((videos, T, axis.shape[1]), np.float32)


def happening(scripts: list[VideoScript], modality: str, names: tuple[str, ...]) -> np.ndarray:
    """Return what is heard or seen in every segment, [n, T, C] in {0, 1}."""
    truth = np.zeros((len(scripts), T, len(names)), np.float32)
    for row, script in enumerate(scripts):
        for event in script.events:
            for onset, offset in event.runs(modality):
                truth[row, onset:offset, names.index(event.label)] = 1
    return truth


def measure(words: list[str], threads: int) -> tuple[float, float, float]:
    """Run a stage; return seconds, CPU seconds and peak memory (MiB) of its process."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipeline", *words]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    _, code, used = os.wait4(process.pid, 0)
    if code:
        sys.exit(f"{words[0]} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Simulate, then run every stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where there is 1 GB of disk (default: /tmp)")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        run = Run(Path(temporary))
        run.simulate(arguments.share)
        print("stage", "seconds", "CPU seconds", "peak MiB", sep="\t", flush=True)
        for stage, words in run.stages(arguments.epochs, arguments.threads).items():
            seconds, cpu, peak = measure(words, arguments.threads)
            print(stage, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
