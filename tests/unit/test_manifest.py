import os
import time
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.data import manifest
from pipeline.data.manifest import (
    ManifestRow,
    ManifestSource,
    as_columns,
    list_videos,
    rows_of_shard,
    shard_digest,
    shard_of,
    write_manifest,
)

NAMES = {
    "train": ["-abcdefghij_20_30", "AP0061o0Nvk_101.8_111.8"],
    "val": ["a_b-c_d_e_f_10_20"],
    "test": ["BjCEufrlXm4_0_10"],
}


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return write_tables(tmp_path / "annotations", NAMES)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def write_tables(folder: Path, names: dict[str, list[str]]) -> Path:
    folder.mkdir(exist_ok=True)
    tables = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
    for split, table in tables.items():
        rows = "".join(f"{name}\tDog\n" for name in names[split])
        (folder / table).write_text("filename\tevent_labels\n" + rows, encoding="utf-8")
    return folder


def by_name(rows: list[ManifestRow]) -> dict[str, ManifestRow]:
    return {row.filename: row for row in rows}


def test_every_video_is_listed_with_its_split_even_without_a_file(annotations, videos):
    rows = list_videos(annotations, videos, shards=4)
    assert [(row.filename, row.split) for row in rows] == [
        (name, split) for split, names in NAMES.items() for name in names
    ]
    assert {row.path for row in rows} == {""}


def test_files_are_found_by_whole_name_and_by_id(annotations, videos):
    for name in ("-abcdefghij.mkv", "AP0061o0Nvk_101.8_111.8.MP4", "a_b-c_d_e_f.webm", "x.mp4"):
        (videos / name).touch()
    rows = by_name(list_videos(annotations, videos, shards=4))
    assert rows["-abcdefghij_20_30"].path == str(videos / "-abcdefghij.mkv")
    assert rows["AP0061o0Nvk_101.8_111.8"].path == str(videos / "AP0061o0Nvk_101.8_111.8.MP4")
    assert rows["a_b-c_d_e_f_10_20"].path == str(videos / "a_b-c_d_e_f.webm")
    assert rows["BjCEufrlXm4_0_10"].path == ""


def test_whole_name_goes_before_id_and_mp4_before_webm(annotations, videos):
    for name in ("BjCEufrlXm4.mp4", "BjCEufrlXm4_0_10.webm", "-abcdefghij.webm", "-abcdefghij.mp4"):
        (videos / name).touch()
    rows = by_name(list_videos(annotations, videos, shards=4))
    assert Path(rows["BjCEufrlXm4_0_10"].path).name == "BjCEufrlXm4_0_10.webm"
    assert Path(rows["-abcdefghij_20_30"].path).name == "-abcdefghij.mp4"


def test_windows_of_clips_start_at_zero_and_of_full_videos_at_the_name(annotations, videos):
    for name in ("AP0061o0Nvk.mp4", "BjCEufrlXm4_0_10.mp4", "-abcdefghij_20_30.mp4"):
        (videos / name).touch()
    trimmed = by_name(list_videos(annotations, videos, 4))["AP0061o0Nvk_101.8_111.8"]
    assert (trimmed.start, trimmed.end) == (0.0, 10.0)
    full = by_name(list_videos(annotations, videos, 4, untrimmed=True))
    assert (full["AP0061o0Nvk_101.8_111.8"].start, full["AP0061o0Nvk_101.8_111.8"].end) == (
        101.8,
        111.8,
    )
    assert full["-abcdefghij_20_30"].start == 0.0, "a file with the window in its name is the clip"


def test_a_clip_that_could_be_two_names_is_refused(tmp_path, videos):
    two = {"train": ["aaaaaaaaaaa_0_10"], "val": [], "test": ["aaaaaaaaaaa_30_40"]}
    tables = write_tables(tmp_path / "annotations", two)
    (videos / "aaaaaaaaaaa.mp4").touch()
    expected = (
        r"aaaaaaaaaaa\.mp4' could be the clip 'aaaaaaaaaaa_0_10' or the clip 'aaaaaaaaaaa_30_40'"
    )
    with pytest.raises(PipelineError, match=expected):
        list_videos(tables, videos, shards=1)
    rows = by_name(list_videos(tables, videos, 1, untrimmed=True))
    assert [rows[name].start for names in two.values() for name in names] == [0.0, 30.0]
    (videos / "aaaaaaaaaaa_30_40.mp4").touch()
    rows = by_name(list_videos(tables, videos, shards=1))
    assert [Path(row.path).stem for row in rows.values()] == ["aaaaaaaaaaa", "aaaaaaaaaaa_30_40"]


def test_links_that_leave_the_folder_are_not_followed(annotations, videos, tmp_path):
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"secret")
    (videos / "real.bin").write_bytes(b"mine")
    (videos / "BjCEufrlXm4.mp4").symlink_to(outside)
    (videos / "-abcdefghij.mp4").symlink_to(videos / "real.bin")
    (videos / "a_b-c_d_e_f.mp4").symlink_to(videos / "nowhere.mp4")
    rows = by_name(list_videos(annotations, videos, shards=4))
    assert rows["BjCEufrlXm4_0_10"].path == ""
    assert rows["a_b-c_d_e_f_10_20"].path == ""
    assert rows["-abcdefghij_20_30"].path == str(videos / "-abcdefghij.mp4")


def test_folders_and_pipes_are_not_videos(annotations, videos):
    (videos / "BjCEufrlXm4.mp4").mkdir()
    os.mkfifo(videos / "-abcdefghij.mp4")
    assert {row.path for row in list_videos(annotations, videos, shards=1)} == {""}


@pytest.mark.parametrize(
    "name",
    ["noWindow", "a_b", "id_30_20", "id_10_10", "../../etc/x_0_10", "_1_2", "id_-5_5", "a\\b_0_10"],
)
def test_names_of_another_form_are_refused(tmp_path, videos, name):
    tables = write_tables(tmp_path / "annotations", NAMES | {"test": [name]})
    with pytest.raises(PipelineError, match="rename"):
        list_videos(tables, videos, shards=1)


def test_a_video_in_two_splits_is_refused(tmp_path, videos):
    tables = write_tables(tmp_path / "annotations", NAMES | {"test": NAMES["train"][:1]})
    with pytest.raises(PipelineError, match="splits train and test"):
        list_videos(tables, videos, shards=1)


def test_missing_folder_and_no_shards_are_refused(annotations, videos, tmp_path):
    with pytest.raises(PipelineError, match="cannot find the video folder"):
        list_videos(annotations, tmp_path / "nowhere", shards=1)
    with pytest.raises(PipelineError, match="shards must be 1 or more, not 0"):
        list_videos(annotations, videos, shards=0)


@given(st.text(min_size=1), st.integers(1, 1000))
def test_a_shard_is_within_range(name, shards):
    assert 1 <= shard_of(name, shards) <= shards


def test_shards_are_stable_and_even():
    assert [shard_of("BjCEufrlXm4_20_30", count) for count in (1, 64)] == [1, 22]
    counts = [0] * 10
    for number in range(10_000):
        counts[shard_of(f"{number}_0_10", 10) - 1] += 1
    assert min(counts) > 850


def test_shards_share_out_all_rows_and_others_are_refused(annotations, videos):
    rows = list_videos(annotations, videos, shards=3)
    parts = [row for shard in (1, 2, 3) for row in rows_of_shard(rows, shard, 3)]
    assert sorted(parts, key=str) == sorted(rows, key=str)
    for shard in (0, 4):
        with pytest.raises(PipelineError, match=f"shard must be 1 to 3 .*, not {shard}"):
            rows_of_shard(rows, shard, 3)


def test_digest_changes_with_the_shards_own_rows_and_sizes_only(annotations, videos):
    file = videos / "BjCEufrlXm4.mp4"
    file.write_bytes(b"1")
    rows = list_videos(annotations, videos, shards=1)
    before = shard_digest(rows, 1)
    other = ManifestRow("other_0_10", "val", 2, "", 0.0, 10.0)
    assert shard_digest([*rows, other], 1) == before
    assert shard_digest(rows[::-1], 1) == before
    os.utime(file, (0, 0))
    assert shard_digest(rows, 1) == before
    file.write_bytes(b"22")
    grown = shard_digest(rows, 1)
    assert grown != before
    file.unlink()
    assert shard_digest(rows, 1) not in {before, grown}
    assert shard_digest(rows[1:], 1) != shard_digest(rows, 1)


def test_digest_stays_when_the_folder_moves_and_when_a_split_changes(annotations, videos, tmp_path):
    (videos / "BjCEufrlXm4.mp4").write_bytes(b"1")
    rows = list_videos(annotations, videos, shards=1)
    moved = videos.rename(tmp_path / "elsewhere")
    rows_there = list_videos(annotations, moved, shards=1)
    assert [row.path for row in rows_there] != [row.path for row in rows]
    other_split = [replace(row, split="val") for row in rows_there]
    digests = {shard_digest(some, 1) for some in (rows_there, other_split)}
    (moved / "BjCEufrlXm4.mp4").rename(moved / "BjCEufrlXm4.mkv")
    digests.add(shard_digest(list_videos(annotations, moved, shards=1), 1))
    assert len(digests) == 2, "another file name may be another container"
    moved.joinpath("BjCEufrlXm4.mkv").rename(moved / "BjCEufrlXm4.mp4")
    moved.rename(videos)
    assert shard_digest(rows, 1) in digests


def test_sources_are_listed_once_they_are_there_and_again_when_a_table_changes(
    annotations, videos, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        manifest, "list_videos", lambda *words: calls.append(words) or list_videos(*words)
    )
    sources = ManifestSource(tmp_path / "fetched", videos, 2)
    assert (sources.shard_digest(1), sources.digest()) == ("", "")
    annotations.rename(tmp_path / "fetched")
    before = [sources.shard_digest(1), sources.shard_digest(2), sources.digest()]
    assert before[:2] == [
        shard_digest(list_videos(tmp_path / "fetched", videos, 2), k) for k in (1, 2)
    ]
    assert "" not in before
    assert len(calls) == 1
    table = tmp_path / "fetched" / "AVVP_train.csv"
    table.write_text(table.read_text() + "BjCEufrlXm4_20_30\tDog\n")
    os.utime(table, (0, 0))
    after = [sources.shard_digest(1), sources.shard_digest(2), sources.digest()]
    place = shard_of("BjCEufrlXm4_20_30", 2)
    assert [a != b for a, b in zip(before, after, strict=True)] == [place == 1, place == 2, True]


def test_the_manifests_digest_knows_splits_and_paths(annotations, videos, tmp_path):
    before = ManifestSource(annotations, videos, 2).digest()
    swapped = NAMES | {"val": NAMES["test"], "test": NAMES["val"]}
    tables = write_tables(tmp_path / "swapped", swapped)
    assert ManifestSource(tables, videos, 2).digest() != before
    (videos / "BjCEufrlXm4.mp4").touch()
    digests = {before, ManifestSource(annotations, videos, 2, untrimmed=True).digest()}
    moved = videos.rename(tmp_path / "elsewhere")
    digests.add(ManifestSource(annotations, moved, 2, untrimmed=True).digest())
    assert len(digests) == 3


def test_ten_videos_more_of_ten_thousand_touch_at_most_ten_shards(tmp_path, videos):
    names = [f"{number:011d}_0_10" for number in range(10_000)]
    tables = write_tables(tmp_path / "annotations", {"train": names, "val": [], "test": []})

    def digests() -> list[str]:
        rows = list_videos(tables, videos, shards=64)
        return [shard_digest(rows_of_shard(rows, shard, 64), shard) for shard in range(1, 65)]

    before = digests()
    added = names[17::1000]
    for name in added:
        (videos / f"{name}.mp4").write_bytes(b"1")
    changed = [
        n + 1 for n, pair in enumerate(zip(before, digests(), strict=True)) if len({*pair}) > 1
    ]
    assert changed == sorted({shard_of(name, 64) for name in added})
    assert len(added) == 10


def test_the_table_has_one_row_a_video(annotations, videos, tmp_path):
    out = tmp_path / "manifest.tsv"
    write_manifest(out, list_videos(annotations, videos, shards=3))
    lines = out.read_text(encoding="utf-8").splitlines()
    columns = ["filename", "split", "shard", "path", "start", "end", "note"]
    assert lines[0].split("\t") == columns
    assert len(lines) == 5


def test_llps_size_is_planned_in_well_under_seconds(tmp_path, videos):
    names = [f"{number:011d}_0_10" for number in range(11_849)]
    tables = write_tables(tmp_path / "annotations", {"train": names, "val": [], "test": []})
    for name in names[:2000]:
        (videos / f"{name[:11]}.mp4").touch()
    began = time.perf_counter()
    rows = list_videos(tables, videos, shards=64)
    assert sum(bool(row.path) for row in rows) == 2000
    assert time.perf_counter() - began < 5.0


def test_columns_are_a_rows_own_fields_in_order():
    row = ManifestRow("BjCEufrlXm4_0_10", "test", 3, "videos/BjCEufrlXm4.mp4", 0.0, 10.0)
    assert as_columns(row) == astuple(row)
