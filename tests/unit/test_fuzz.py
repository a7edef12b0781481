"""Broken mp4 files through the decode stage; tests/benchmarks/fuzz_decode.py runs 10,000."""

from collections import Counter
from pathlib import Path

import numpy as np
from mutations import mutate, write_seeds

from pipeline.core.errors import Status
from pipeline.core.shards import read_shard, read_status
from pipeline.media import SAMPLE_RATE
from pipeline.media.options import Decoding
from pipeline.media.segments import run_shard
from pipeline.media.video_window import VideoWindow

COUNT, T, SIZE = 200, 2, 32


def test_every_broken_file_is_reported_and_none_stops_the_shard(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    seeds = write_seeds(tmp_path / "seeds")
    rows = []
    for number in range(COUNT):
        path = tmp_path / f"v{number}.mp4"
        path.write_bytes(mutate(seeds[number % len(seeds)], random))
        rows.append(VideoWindow(f"v{number}_0_2", str(path), 0.0, 2.0))
    out, status = tmp_path / "1-of-1.safetensors", tmp_path / "1-of-1.status.tsv"
    decoding = Decoding(segments=T, frame_size=SIZE, missing_video="pad", timeout_seconds=20)
    run_shard(rows, decoding, workers=1, out=out, status=status)
    shard, statuses = read_shard(out), read_status(status)
    assert [row.filename for row in statuses] == sorted(row.name for row in rows)
    assert list(shard.names) == [row.filename for row in statuses if row.kept]
    assert shard["frames"].shape == (len(shard.names), T, 1, SIZE, SIZE, 3)
    assert shard["audio"].shape == (len(shard.names), T * SAMPLE_RATE)
    counts = Counter(row.status for row in statuses)
    assert counts[Status.OK] > 10, "the mutations break everything: they test only the opening"
    assert counts[Status.NOT_MEDIA] > 10
    assert counts[Status.DECODE_ERROR] > 1
    assert not counts[Status.TIMEOUT]
