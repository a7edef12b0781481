"""A shard's videos to features in one job: the same files as by two stages."""

import pytest
import small_encoders
from clips import write_clip

from pipeline.cli import main
from pipeline.core.background import run_ahead
from pipeline.core.shards import read_shard, read_status
from pipeline.data.annotations import SPLIT_TABLES
from pipeline.data.manifest import list_videos
from pipeline.features import from_videos
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import EncodersOptions
from pipeline.features.extract import encode_shard
from pipeline.inference.settings import InferenceSettings
from pipeline.media.options import DecodeOptions
from pipeline.media.segments import run_shard

T = 2
NAMES = [f"{letter * 11}_0_{T}" for letter in "abcde"]


@pytest.fixture
def corpus(tmp_path):
    """Five videos in the tables: one is broken, one is missing, one has no sound."""
    (tmp_path / "videos").mkdir()
    codecs = {name: None if name == NAMES[1] else "aac" for name in NAMES}
    for name in NAMES[:3]:
        write_clip(tmp_path / f"videos/{name}.mp4", seconds=T, audio_codec=codecs[name])
    (tmp_path / f"videos/{NAMES[3]}.mp4").write_bytes(b"no video" * 100)
    for split, table in SPLIT_TABLES.items():
        rows = "".join(f"{name}\tDog\n" for name in NAMES if split == "train")
        (tmp_path / table).write_text("filename\tevent_labels\n" + rows)
    return tmp_path


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "clap").mkdir()
    # A batch is one video, as batches of other sizes move the last digits.
    changes = {"batch_size": T, "weights": "random:1"}
    encoders = EncodersOptions(
        clip=small_encoders.write_clip(tmp_path).model_copy(update=changes),
        clap=small_encoders.write_clap(tmp_path / "clap").model_copy(update=changes),
    )
    decode = DecodeOptions(frame_size=small_encoders.IMAGE_SIZE)
    return InferenceSettings(
        segments=T, untrimmed=False, decode=decode, encoders=encoders, classes=()
    )


def test_files_are_those_of_two_stages(corpus, settings, monkeypatch):
    monkeypatch.setattr(from_videos, "VIDEOS_AT_A_TIME", 2)
    places = ["--annotations", str(corpus), "--videos", str(corpus / "videos")]
    words = ["--settings", settings.model_dump_json(), *places, "--shard", "1-of-1"]
    out = corpus / "features"
    command = ["encode-videos", *words, "--workers", "1", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0

    videos = [row.window for row in list_videos(corpus, corpus / "videos", 1)]
    segments = from_videos.shard_files(corpus, "segments")
    run_shard(videos, settings.decoding, 1, *segments)
    for name, spec in settings.specs.items():
        files = from_videos.shard_files(corpus, name)
        encode_shard(load_encoder(spec, "cpu"), *segments, *files)
        folder = f"{name}-{settings.feature_fingerprints()[name]}"
        found = from_videos.shard_files(out / folder, "1-of-1")
        assert found[0].read_bytes() == files[0].read_bytes()
        assert found[1].read_text() == files[1].read_text()
        assert read_shard(found[0]).names == tuple(NAMES[:3])
        statuses = [str(row.status) for row in read_status(found[1])]
        assert statuses == ["ok", "no_audio_stream", "ok", "not_media", "missing"]
    assert not list(corpus.glob("avvp-*"))


def test_links_to_videos_elsewhere_are_followed(corpus, settings):
    linked = corpus / "linked"
    linked.mkdir()
    for video in (corpus / "videos").iterdir():
        (linked / video.name).symlink_to(video)
    words = ["encode-videos", "--settings", settings.model_dump_json(), "--annotations"]
    words += [str(corpus), "--videos", str(linked), "--shard", "1-of-1", "--device", "cpu"]
    for follow in ([], ["--follow-links"]):
        out = corpus / f"out{len(follow)}"
        assert main([*words, *follow, "--out", str(out)]) == 0
        [table] = out.glob("clip-*/1-of-1.status.tsv")
        statuses = {str(row.status) for row in read_status(table)}
        assert ("ok" in statuses) == bool(follow)


def test_results_come_in_order_and_no_more_than_allowed_are_started():
    started = []

    def double(item):
        started.append(item)
        return 2 * item

    seen = []
    for done, result in enumerate(run_ahead(double, range(10), threads=1, ahead=2), start=1):
        seen.append(result)
        assert len(started) <= done + 2
    assert seen == list(range(0, 20, 2))


def test_an_error_is_raised_in_its_turn():
    results = run_ahead(lambda item: 1 // item, [1, 0, 1], threads=1, ahead=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
