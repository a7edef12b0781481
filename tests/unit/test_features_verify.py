"""A whole feature folder passes; each way of not being whole is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.core.errors import PipelineError, Status
from pipeline.core.shards import (
    Shard,
    StatusRow,
    read_shard,
    read_status,
    write_shard,
    write_status,
)
from pipeline.data.manifest import shard_of
from pipeline.features.verify import verify_features

T, D, SHARDS = 3, 8, 2
NAMES = [f"video{n:06d}_0_3" for n in range(9)]
META = {"encoder": "clip", "fingerprint": "0123456789", "segments": str(T)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    folder = tmp_path / "clip-0123456789"
    for index in range(1, SHARDS + 1):
        names = tuple(name for name in NAMES if shard_of(name, SHARDS) == index)
        features = random.standard_normal((len(names), T, D)).astype(np.float32)
        features /= np.linalg.norm(features, axis=-1, keepdims=True)
        write_shard(shard_path(folder, index), Shard(names, {"embedding": features}, META))
        rows = [StatusRow(name, True, Status.OK) for name in names]
        gone = next(n for n in (f"gone{k}_0_3" for k in range(99)) if shard_of(n, SHARDS) == index)
        rows.append(StatusRow(gone, False, Status.MISSING, "no file"))
        write_status(status_path(folder, index), rows)
    text = Shard(("A", "B"), {"text": np.eye(2, D, dtype=np.float32)}, META)
    write_shard(folder / "prompts.safetensors", text)
    return folder


def shard_path(folder: Path, index: int) -> Path:
    return folder / f"{index}-of-{SHARDS}.safetensors"


def status_path(folder: Path, index: int) -> Path:
    return folder / f"{index}-of-{SHARDS}.status.tsv"


def test_a_whole_folder_passes_and_says_what_it_holds(folder, capsys):
    verified = verify_features(folder)
    assert (verified.videos, verified.left_out, verified.shards) == (9, 2, 2)
    assert verified.shapes == {"embedding": (T, D)}
    assert main(["features-verify", str(folder)]) == 0
    assert "2 valid shards, 9 videos (2 dropped), embedding [9, 3, 8]" in capsys.readouterr().out


def changed(change):
    def damage(folder: Path) -> None:
        shard = read_shard(shard_path(folder, 1))
        write_shard(shard_path(folder, 1), change(shard))

    return damage


def with_value(value):
    def change(shard: Shard) -> Shard:
        shard.arrays["embedding"][1, 2, 3] = value
        return shard

    return changed(change)


def without_first(shard: Shard) -> Shard:
    return shard.select(shard.names[1:])


def renamed(shard: Shard) -> Shard:
    other = next(n for n in (f"x{k}_0_3" for k in range(99)) if shard_of(n, SHARDS) == 2)
    return replace(shard, names=(other, *shard.names[1:]))


def narrowed(shard: Shard) -> Shard:
    features = shard["embedding"][:, :, :4]
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return replace(shard, arrays={"embedding": features})


def halved(shard: Shard) -> Shard:
    return replace(shard, arrays={"embedding": shard["embedding"].astype(np.float16)})


def other_meta(shard: Shard) -> Shard:
    return replace(shard, meta={**shard.meta, "fingerprint": "ffffffffff"})


def cut(folder: Path) -> None:
    path = shard_path(folder, 2)
    path.write_bytes(path.read_bytes()[:-40])


def copied(folder: Path) -> None:
    shard_path(folder, 2).write_bytes(shard_path(folder, 1).read_bytes())


def unkept(folder: Path) -> None:
    rows = read_status(status_path(folder, 1))
    write_status(status_path(folder, 1), [replace(row, kept=False) for row in rows])


def other_prompts(folder: Path) -> None:
    write_shard(
        folder / "prompts.safetensors", other_meta(read_shard(folder / "prompts.safetensors"))
    )


def cut_table(folder: Path) -> None:
    path = status_path(folder, 2)
    path.write_text(path.read_text()[:-5])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (with_value(np.nan), r"embedding values that are not finite for 'video.*\(1 in total\)"),
        (with_value(5.0), r"length is not 1 for 'video"),
        (changed(without_first), "marks 'video.* as kept, .*; delete that shard and its table"),
        (changed(renamed), "which belongs in shard 2"),
        (changed(narrowed), r"2-of-2.* has arrays .*\(3, 8\)"),
        (changed(halved), "has embedding as float16; expected float32"),
        (changed(other_meta), "fingerprint ffffffffff"),
        (cut, "2-of-2.* is corrupt or truncated"),
        (copied, "which is also in 1-of-2.safetensors"),
        (unkept, "marks 'video.* as dropped"),
        (other_prompts, "prompts.* different fingerprint; delete that file and run it again"),
        (cut_table, "2-of-2.status.tsv', line "),
        (lambda folder: shard_path(folder, 2).unlink(), "lacks 1 of its 2 shards"),
        (lambda folder: status_path(folder, 2).unlink(), "2-of-2.status.tsv': no such file"),
    ],
)  # fmt: skip
def test_each_damage_is_named(folder, capsys, damage, sentence):
    damage(folder)
    with pytest.raises(PipelineError, match=sentence):
        verify_features(folder)
    assert main(["features-verify", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_float16_and_motion_of_any_length_are_whole(folder):
    for index in range(1, SHARDS + 1):
        shard = read_shard(shard_path(folder, index))
        arrays = {"embedding": (3 * shard["embedding"]).astype(np.float16)}
        meta = {**shard.meta, "encoder": "motion", "storage": "float16"}
        write_shard(shard_path(folder, index), Shard(shard.names, arrays, meta))
    assert verify_features(folder).encoder == "motion"


def test_a_folder_of_another_name_is_not_to_be_deleted(folder):
    other = folder.rename(folder.with_name("clip-ffffffffff"))
    with pytest.raises(PipelineError, match=r"fingerprint 0123456789.*rename the folder") as caught:
        verify_features(other)
    assert "delete" not in str(caught.value)
