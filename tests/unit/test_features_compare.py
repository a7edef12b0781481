"""Cosines of two feature folders, ours or VALOR's files."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, write_shard
from pipeline.features.compare import compare_features

T, D = 4, 16
NAMES = tuple(f"video{n:06d}_0_4" for n in range(6))


def write(folder: Path, features: np.ndarray, names=NAMES, key="embedding") -> Path:
    half = len(names) // 2
    for index, rows in ((1, slice(0, half)), (2, slice(half, None))):
        shard = Shard(names[rows], {key: features[rows]}, {"encoder": "clip"})
        write_shard(folder / f"{index}-of-2.safetensors", shard)
    return folder


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, T, D)).astype(np.float32)


def test_scaled_features_agree_whatever_the_order(tmp_path, features):
    first = write(tmp_path / "a", features)
    second = write(tmp_path / "b", 3 * features[::-1], names=NAMES[::-1])
    agreement = compare_features(first, second)
    assert agreement.names == NAMES
    np.testing.assert_allclose(agreement.cosines, 1, atol=1e-6)


def test_the_worst_videos_are_named_first(tmp_path, features, capsys):
    other = features.copy()
    other[4] *= -1
    other[2, 1] = np.roll(features[2, 1], 5)
    first, second = write(tmp_path / "a", features), write(tmp_path / "b", other)
    agreement = compare_features(first, second)
    expected = features[2, 1] @ other[2, 1] / (features[2, 1] @ features[2, 1])
    assert agreement.cosines[2, 1] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(agreement.cosines[4], -1, atol=1e-6)
    assert main(["features-compare", str(first), str(second)]) == 0
    lines = capsys.readouterr().out.splitlines()
    worst = lines.index("least similar videos (mean, lowest segment):")
    assert lines[worst + 1].split()[-1] == NAMES[4]
    assert lines[worst + 2].split()[-1] == NAMES[2]
    bars = [line.split() for line in lines if " to " in line]
    assert sum(int(bar[3]) for bar in bars) == 6 * T
    assert int(bars[0][3]) >= T
    assert int(bars[-1][3]) == 6 * T - T - 1


def test_valors_files_are_compared_by_id(tmp_path, features):
    first = write(tmp_path / "a", features)
    (tmp_path / "released").mkdir()
    for name, rows in zip(NAMES[1:], features[1:], strict=True):
        np.save(tmp_path / "released" / f"{name[:11]}.npy", rows)
    agreement = compare_features(first, tmp_path / "released")
    assert agreement.names == tuple(name[:11] for name in NAMES[1:])
    np.testing.assert_allclose(agreement.cosines, 1, atol=1e-6)
    assert (agreement.only_first, agreement.only_second) == (1, 0)


def test_frames_and_maps_are_brought_to_seconds(tmp_path):
    random = np.random.default_rng(1)
    rows = random.standard_normal((10, D)).astype(np.float32)
    grid = np.repeat(rows[:1], 64, axis=0)  # the same everywhere, so it pools to itself
    for folder, array, file in (
        ("res152", np.repeat(rows, 8, axis=0), rows),
        ("CLAP", grid, np.repeat(rows[:1], 10, axis=0)),
    ):
        for place, content in ((tmp_path / folder, array), (tmp_path / f"{folder}-seconds", file)):
            place.mkdir()
            np.save(place / f"{NAMES[0][:11]}.npy", content)
        agreement = compare_features(tmp_path / folder, tmp_path / f"{folder}-seconds")
        assert agreement.cosines.shape == (1, 10)
        np.testing.assert_allclose(agreement.cosines, 1, atol=1e-6)


def test_names_that_share_an_id_are_not_compared_by_it(tmp_path, features):
    names = (*NAMES[:5], f"{NAMES[0][:11]}_4_8")
    first = write(tmp_path / "a", features, names=names)
    assert len(compare_features(first, first).names) == 6
    (tmp_path / "released").mkdir()
    np.save(tmp_path / "released" / f"{NAMES[0][:11]}.npy", features[0])
    with pytest.raises(PipelineError, match="1 ids belong to several videos, including 'video"):
        compare_features(first, tmp_path / "released")


def test_what_cannot_be_compared_is_refused(tmp_path, features):
    first = write(tmp_path / "a", features)
    narrow = write(tmp_path / "b", features[:, :, :8])
    with pytest.raises(PipelineError, match=r"4 segments of 16 dimensions.*4 of 8"):
        compare_features(first, narrow)
    others = write(tmp_path / "c", features, names=tuple(f"other{n}_0_4" for n in range(6)))
    with pytest.raises(PipelineError, match="no video in common"):
        compare_features(first, others)
    with pytest.raises(PipelineError, match="no array 'map'; it has embedding"):
        compare_features(first, first, "map")


def test_features_of_two_encoders_are_not_compared(tmp_path, features):
    first = write(tmp_path / "first", features)
    second = tmp_path / "second"
    write_shard(
        second / "1-of-1.safetensors",
        Shard(tuple(NAMES), {"embedding": features}, {"encoder": "clap"}),
    )
    with pytest.raises(PipelineError, match=r"features of clip, '.*second' of clap; cosines mean"):
        compare_features(first, second)
