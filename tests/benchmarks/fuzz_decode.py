"""Broken mp4 files through the decode stage: no crash of a shard, no hang, no unreported video.

``python tests/benchmarks/fuzz_decode.py --count 10000 --seed 0`` prints the number of videos of
every status; it stops with an error, and keeps the shard's inputs, where something is not as it
must be. The test suite runs a small one.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "unit")]

import numpy as np
from mutations import mutate, write_seeds

from pipeline.core.shards import read_shard, read_status
from pipeline.media import SAMPLE_RATE
from pipeline.media.options import Decoding
from pipeline.media.segments import run_shard
from pipeline.media.video_window import VideoWindow

T, SIZE = 2, 32
DECODING = Decoding(segments=T, frame_size=SIZE, missing_video="pad")
A_SHARD = 500


def run_part(folder: Path, seeds: list[bytes], random: np.random.Generator, count: int, options):
    """Decode ``count`` mutated files as one shard, and return its checked status rows."""
    rows = []
    for number in range(count):
        path = folder / f"v{number}.mp4"
        path.write_bytes(mutate(seeds[random.integers(len(seeds))], random))
        rows.append(VideoWindow(f"v{number}_0_{T}", str(path), 0.0, float(T)))
    out, status = folder / "1-of-1.safetensors", folder / "1-of-1.status.tsv"
    decoding = DECODING.model_copy(update={"timeout_seconds": options.timeout_seconds})
    run_shard(rows, decoding, options.workers, out, status)
    shard, statuses = read_shard(out), read_status(status)
    assert sorted(row.filename for row in statuses) == sorted(row.name for row in rows)
    assert list(shard.names) == sorted(row.filename for row in statuses if row.kept)
    assert shard["frames"].shape == (len(shard.names), T, 1, SIZE, SIZE, 3)
    assert shard["audio"].shape == (len(shard.names), T * SAMPLE_RATE)
    return statuses


def main() -> None:
    """Run all parts and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout-seconds", type=float, default=20.0)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    details: Counter[str] = Counter()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp())
    seeds = write_seeds(folder / "seeds")
    for first in range(0, options.count, A_SHARD):
        part = folder / f"part{first}"
        part.mkdir()
        random = np.random.default_rng((options.seed, first))
        for row in run_part(part, seeds, random, min(A_SHARD, options.count - first), options):
            counts[f"{row.status}, {'kept' if row.kept else 'left out'}"] += 1
            if row.status in {"crashed", "timeout"}:
                details[f"{row.status} {part.name}/{row.filename}: {row.detail}"] += 1
        shutil.rmtree(part)
        print(f"{counts.total()} inputs, {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(folder)
    for line, number in [*counts.most_common(), *details.most_common()]:
        print(number, line, sep="\t")


if __name__ == "__main__":
    main()
