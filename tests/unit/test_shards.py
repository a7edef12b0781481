import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.core.errors import PipelineError, Status
from pipeline.core.shards import (
    HEADER,
    Shard,
    ShardReader,
    StatusRow,
    join_shards,
    read_array,
    read_shard,
    read_status,
    write_shard,
    write_status,
)


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
    joined = join_shards([read_shard(path) for path in sorted(tmp_path.iterdir())])
    assert joined.names == ("a", "b")
    np.testing.assert_array_equal(joined["map"], shard("b", "a")["map"][::-1])


def test_shards_made_differently_are_not_joined() -> None:
    with pytest.raises(PipelineError, match="2 shards were made with 2 different settings"):
        join_shards([shard("a", fingerprint="0"), shard("b", fingerprint="1")])


def test_a_video_in_two_shards_is_named() -> None:
    with pytest.raises(PipelineError, match="two shards share 1 video, the first is 'b'"):
        join_shards([shard("a", "b"), shard("c", "b")])


def test_arrays_of_other_shapes_are_not_joined() -> None:
    longer = {key: array.repeat(2, axis=1) for key, array in shard("b").arrays.items()}
    with pytest.raises(PipelineError, match=r"'embedding' has different shapes .*\(3, 2\) and \(6"):
        join_shards([shard("a"), Shard(("b",), longer)])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("1-of-3", "3-of-3"), "lacks 1 of its 3 shards, the first is 2-of-3"),
        (("1-of-2", "3-of-2"), "lacks 1 of its 2 shards, the first is 2-of-2"),
        (("1-of-1", "2-of-1"), r"2-of-1\.safetensors' is not one of 1 shards"),
        (("1-of-1", "1-of-2", "2-of-2"), r"mixes shards of \[1, 2\] parts"),
    ],
)
def test_shards_of_other_numbers_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        write_shard(tmp_path / f"{name}.safetensors", shard(name))
    with pytest.raises(PipelineError, match=message):
        read_array(tmp_path, "map")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    made = shard("a", "b")
    made["map"][1, 0, 0] = value
    write_shard(tmp_path / "1-of-1.safetensors", made)
    assert read_array(tmp_path, "embedding").names == ("a", "b")
    with pytest.raises(PipelineError, match=f"not finite .1 of 12, such as {value}. in 'map'"):
        read_array(tmp_path, "map")


def test_rows_of_an_array_that_is_not_there_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "1-of-1.safetensors"
    write_shard(path, shard("a"))
    with ShardReader(path) as reader, pytest.raises(PipelineError, match="has no array 'audio'"):
        reader.rows("audio", 0, 1)


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0-of-1.safetensors"
    write_shard(path, shard("a"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PipelineError, match="corrupt or truncated"):
        read_shard(path)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "null",
        '"names"',
        "{}",
        '{"names": 3, "meta": {}}',
        '{"names": ["a", "b"]}',
        '{"names": ["a", "b"], "meta": 7}',
        '{"names": ["a", "b"], "meta": {}, "checksums": [1]}',
    ],
)
def test_a_header_of_another_form_is_one_sentence(tmp_path: Path, header: str) -> None:
    path = tmp_path / "1-of-1.safetensors"
    save_file({"embedding": np.zeros((2, 3), np.float32)}, path, metadata={HEADER: header})
    with pytest.raises(PipelineError, match=r"1-of-1.safetensors' is corrupt or truncated"):
        read_shard(path)


@pytest.mark.parametrize(
    ("names", "why"), [(["a"], "has length 2, but names 1"), (["a", "a"], "must be unique")]
)
def test_arrays_of_other_videos_are_one_sentence(
    tmp_path: Path, names: list[str], why: str
) -> None:
    path = tmp_path / "1-of-1.safetensors"
    header = json.dumps({"names": names, "meta": {}})
    save_file({"embedding": np.zeros((2, 3), np.float32)}, path, metadata={HEADER: header})
    for read in (read_shard, lambda path: read_array(path.parent, "embedding")):
        with pytest.raises(PipelineError, match=f"corrupt or truncated.*{why}"):
            read(path)


ROWS = [
    StatusRow("-a_0_10", True, Status.OK, "", "pyav", 10.0, 9.98),
    StatusRow('b "quoted"\n名_0_10', False, Status.MISSING, "no file; none"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_status(tmp_path / "1-of-1.status.tsv", ROWS)
    return tmp_path / "1-of-1.status.tsv"


def test_a_status_table_is_read_back(table: Path) -> None:
    assert read_status(table) == ROWS


def test_a_status_table_cut_anywhere_is_told_or_lacks_whole_rows(table: Path) -> None:
    content = table.read_bytes()
    head = content.index(b"\n") + 1
    first = content.index(b"\n", head) + 1
    for size in set(range(len(content))) - {head, first}:
        table.write_bytes(content[:size])
        with pytest.raises(PipelineError, match=r"', line \d: .*delete it and its shard, and run"):
            read_status(table)
    for count, size in enumerate((head, first)):
        table.write_bytes(content[:size])
        assert read_status(table) == ROWS[:count]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("\tyes\t", "\ttrue\t", "line 2: .*kept must be yes or no, not 'true'"),
        ("\tok\t", "\tfine\t", "line 2: .*'fine' is not a valid Status"),
        ("\t10.0\t", "\t\t", "line 2: .*could not convert string to float"),
        ("\t10.0\t", "\t", "line 2: .*6 of 7 columns"),
        ("\tbackend\t", "\tlibrary\t", "line 1: .*the columns are not filename, kept"),
    ],
)
def test_a_status_table_that_was_changed_is_one_sentence(table, old, new, why) -> None:
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(PipelineError, match=why):
        read_status(table)
