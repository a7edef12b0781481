import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.store import Shard, ShardReader, join_shards, read_shard, read_shards, write_shard


def shard(*names: str, **meta: str) -> Shard:
    values = np.arange(len(names) * 6, dtype=np.float32).reshape(len(names), 3, 2)
    return Shard(names, {"embedding": values, "map": values + 1}, meta)


def test_a_shard_is_read_back(tmp_path: Path) -> None:
    written = shard("b_0_10", "-a_1.5_11.5", encoder="clip", fingerprint="0")
    write_shard(tmp_path / "0-of-1.safetensors", written)
    with ShardReader(tmp_path / "0-of-1.safetensors") as reader:
        assert reader.names == written.names
        assert reader.meta == written.meta
        assert set(reader.keys) == {"embedding", "map"}
        np.testing.assert_array_equal(reader.rows("map", 1, 2), written["map"][1:])


def test_equal_shards_are_equal_files(tmp_path: Path) -> None:
    digests = set()
    for run in range(8):
        path = tmp_path / f"{run}.safetensors"
        write_shard(path, shard("a", "b", one="1", two="2"))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_shard_without_videos_can_be_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "0-of-2.safetensors", shard())
    write_shard(tmp_path / "1-of-2.safetensors", shard("b", "a"))
    with ShardReader(tmp_path / "0-of-2.safetensors") as reader:
        assert reader.rows("map", 0, 0).shape == (0, 3, 2)
    joined = read_shards(sorted(tmp_path.iterdir()))
    assert joined.names == ("a", "b")
    np.testing.assert_array_equal(joined["map"], shard("b", "a")["map"][::-1])


def test_shards_made_differently_are_not_joined() -> None:
    with pytest.raises(PipelineError, match="2 shards were made in 2 different ways"):
        join_shards([shard("a", fingerprint="0"), shard("b", fingerprint="1")])


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.safetensors"
    write_shard(path, shard("a"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PipelineError, match="not a whole shard file"):
        read_shard(path)
