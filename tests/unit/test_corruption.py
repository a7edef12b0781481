"""A cache whose bytes changed on a disk or on the way: found, and said which file to delete."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.core.errors import PipelineError
from pipeline.core.shards import HEADER, Shard, read_array, read_shard, shard_paths, write_shard
from pipeline.parsers.checkpoint import FILE, read_checkpoint


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(2, 10, 4)).astype(np.float32)
    meta = {"fingerprint": "0123456789", "encoder": "clip"}
    path = tmp_path / "1-of-1.safetensors"
    write_shard(path, Shard(("b", "a"), {"map": values, "embedding": values}, meta))
    return path


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [-1, -100, -600])
def test_a_flipped_bit_of_an_array_is_found(shard: Path, place: int) -> None:
    flip(shard, place)
    with pytest.raises(PipelineError, match=r"1-of-1.safetensors' has changed .* delete it"):
        read_shard(shard)


def test_every_flipped_bit_is_found_or_changes_nothing(shard: Path) -> None:
    whole, good = read_shard(shard), shard.read_bytes()
    said: list[str] = []
    for place in range(0, len(good), 7):
        flip(shard, place)
        try:
            read = read_shard(shard)
        except PipelineError as error:
            said.append(str(error))
        else:
            assert (read.names, read.meta) == (whole.names, whole.meta), place
            assert all(np.array_equal(read[key], whole[key]) for key in whole.arrays)
        shard.write_bytes(good)
    assert said
    assert all(str(shard) in sentence for sentence in said)


def test_a_cut_shard_is_not_taken_for_whole(shard: Path) -> None:
    good = shard.read_bytes()
    for length in (0, 5, 100, len(good) // 2, len(good) - 1):
        shard.write_bytes(good[:length])
        with pytest.raises(PipelineError, match=r"1-of-1.safetensors' is not a whole .* delete it"):
            read_shard(shard)


def test_one_array_is_checked_alone(shard: Path) -> None:
    flip(shard, -1)  # arrays lie in the order of their names: the map's last byte
    assert read_array(shard.parent, "embedding").names == ("a", "b")
    with pytest.raises(PipelineError, match="checksum of 'map'"):
        read_array(shard.parent, "map")


def test_a_shard_from_before_there_were_checksums_is_read(shard: Path) -> None:
    whole = read_shard(shard)
    header = '{"names": ["b", "a"], "meta": {"fingerprint": "0123456789", "encoder": "clip"}}'
    save_file(dict(whole.arrays), shard, metadata={HEADER: header})
    with safe_open(str(shard), framework="numpy") as file:
        assert "checksums" not in file.metadata()[HEADER]
    assert np.array_equal(read_shard(shard)["map"], whole["map"])
    assert shard_paths(shard.parent) == [shard]


def test_a_cut_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x40" + bytes(30))
    with pytest.raises(PipelineError, match="is not a valid checkpoint"):
        read_checkpoint(tmp_path)
