import re
from pathlib import Path

import numpy as np
import pytest
from clips import number_in, tone, write_clip

from pipeline.cli import main
from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.shards import StatusRow, read_shard, read_status
from pipeline.core.validation import validated
from pipeline.media.options import Decoding
from pipeline.media.segments import decode_video, run_shard
from pipeline.media.video_window import VideoWindow

T = 3
SMALL = {"segments": T, "frame_size": 96, "frame_transform": "valor", "missing_video": "pad"}
MIDDLES = [15, 45, 75]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of every kind that a folder of downloads has."""
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "good.mp4", seconds=T)
    write_clip(folder / "-dash.mkv", seconds=T + 2)
    write_clip(folder / "mute.mp4", seconds=T, audio_codec=None)
    write_clip(folder / "song.mp4", seconds=T, video_codec=None)
    write_clip(folder / "short.mp4", seconds=1.5)
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<html>Video unavailable</html>")
    content = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    return folder


def rows_of(folder: Path) -> list[VideoWindow]:
    paths = sorted(folder.iterdir())
    rows = [VideoWindow(f"{path.stem}_0_3", str(path), 0.0, 3.0) for path in paths]
    return [*rows, VideoWindow("gone_0_3", "", 0.0, 3.0)]


def decode(folder: Path, out: Path, **changes) -> tuple:
    run_shard(
        rows_of(folder),
        Decoding(**(SMALL | changes)),
        workers=2,
        out=out / "1-of-1.safetensors",
        status=out / "1-of-1.status.tsv",
    )
    statuses = {row.filename: row for row in read_status(out / "1-of-1.status.tsv")}
    return read_shard(out / "1-of-1.safetensors"), statuses


def test_every_video_has_a_status_and_every_kept_one_its_arrays(corpus, tmp_path, caplog):
    with caplog.at_level("INFO"):
        shard, statuses = decode(corpus, tmp_path)
    found = {name: (row.kept, row.status) for name, row in statuses.items()}
    assert found == {
        "good_0_3": (True, Status.OK),
        "-dash_0_3": (True, Status.OK),
        "mute_0_3": (True, Status.NO_AUDIO_STREAM),
        "song_0_3": (True, Status.NO_VIDEO_STREAM),
        "short_0_3": (True, Status.TOO_SHORT),
        "empty_0_3": (False, Status.EMPTY_FILE),
        "page_0_3": (False, Status.NOT_MEDIA),
        "cut_0_3": (False, Status.NOT_MEDIA),
        "gone_0_3": (False, Status.MISSING),
    }
    assert list(shard.names) == sorted(name for name, (kept, _) in found.items() if kept)
    assert shard["frames"].shape == (5, T, 1, 96, 96, 3)
    assert shard["audio"].shape == (5, T * 48_000)
    assert shard["frames"].dtype == np.uint8
    assert shard["audio"].dtype == np.int16
    assert "5 of 9 videos kept" in caplog.text
    assert "not_media 2" in caplog.text
    assert re.search(r"decode \d+\.\d s, write \d+\.\d s, \d+\.\d videos/s", caplog.text)


def test_rows_are_the_right_videos_segments(corpus, tmp_path):
    shard, statuses = decode(corpus, tmp_path)
    frames = dict(zip(shard.names, shard["frames"], strict=True))
    sounds = dict(zip(shard.names, shard["audio"], strict=True))
    for name in ("good_0_3", "-dash_0_3", "mute_0_3"):
        assert [number_in(frame) for frame in frames[name][:, 0]] == MIDDLES
    assert [number_in(frame) for frame in frames["short_0_3"][:, 0]] == [15, 44, 44]
    assert not frames["song_0_3"].any()
    assert not sounds["mute_0_3"].any()
    for name in ("good_0_3", "-dash_0_3", "song_0_3"):
        spectra = np.abs(np.fft.rfft(sounds[name].reshape(T, -1)))
        assert spectra.argmax(axis=1).tolist() == [tone(second) for second in range(T)]
    short = statuses["short_0_3"]
    assert "video ends at 1.50 of 3 s" in short.detail
    assert "audio ends" in short.detail
    assert short.video_seconds == pytest.approx(1.5, abs=0.01)
    assert short.backend == "pyav"


def test_policies_drop_what_they_say(corpus, tmp_path):
    changes = {"missing_audio": "drop", "missing_video": "drop", "short": "drop"}
    shard, statuses = decode(corpus, tmp_path, **changes)
    assert shard.names == ("-dash_0_3", "good_0_3")
    assert statuses["mute_0_3"] == StatusRow(
        "mute_0_3", False, Status.NO_AUDIO_STREAM, "the file has no audio stream"
    )
    assert statuses["short_0_3"].status == Status.TOO_SHORT


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("missing_audio", r"'mute_0_3' is no_audio_stream .*missing_audio is 'fail'"),
        ("missing_video", r"'song_0_3' is no_video_stream .*missing_video is 'fail'"),
        ("short", r"'short_0_3' is too_short .*short is 'fail'"),
    ],
)
def test_policy_fail_stops_the_shard_and_names_the_video(corpus, tmp_path, policy, sentence):
    with pytest.raises(PipelineError, match=sentence):
        decode(corpus, tmp_path, **{policy: "fail"})
    assert not list(tmp_path.iterdir())


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(PipelineError, match="'short' is 'crop'; it must be one of pad, drop, fail"):
        validated(Decoding, {"short": "crop"})


def test_what_a_file_has_after_its_window_is_short_not_content(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=12)
    decoding = Decoding(**(SMALL | {"segments": 5, "untrimmed": True}))
    row = VideoWindow("a_4_6", str(path), 4.0, 6.0)
    outcome = decode_video(row, decoding)
    assert [number_in(frame) for frame in outcome.frames[:, 0]] == [135, 165, 179, 179, 179]
    assert not outcome.audio[round(2.01 * 48_000) :].any()
    assert (outcome.row.status, outcome.row.video_seconds, outcome.row.audio_seconds) == (
        Status.TOO_SHORT, pytest.approx(2), pytest.approx(2),
    )  # fmt: skip
    assert outcome.row.detail == (
        "the window is 2 s long, not 5 s; video ends at 2.00 of 5 s; audio ends at 2.00 of 5 s"
    )
    with pytest.raises(ItemError, match="too_short"):
        decode_video(row, decoding.model_copy(update={"short": "drop"}))
    stretched = decoding.model_copy(update={"sampling": "valor", "audio_slicing": "valor"})
    shown = [number_in(frame) for frame in decode_video(row, stretched).frames[:, 0]]
    assert shown[0] == 120
    assert shown[-1] in range(170, 180)


def test_a_window_longer_than_its_segments_is_told(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=T + 2)
    outcome = decode_video(VideoWindow("a_0_5", str(path), 0.0, 5.0), Decoding(**SMALL))
    assert [number_in(frame) for frame in outcome.frames[:, 0]] == MIDDLES
    assert (outcome.row.status, outcome.row.detail) == (
        Status.OK,
        "the window is 5 s long, not 3 s",
    )


@pytest.mark.parametrize(("untrimmed", "notes"), [(False, 1), (True, 0)])
def test_a_clip_that_is_longer_than_its_window_is_told(tmp_path, untrimmed, notes):
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "long.mp4", seconds=T + 2)
    write_clip(tmp_path / "clips" / "usual.mp4", seconds=T + 0.5)
    _, statuses = decode(tmp_path / "clips", tmp_path, untrimmed=untrimmed)
    assert statuses["usual_0_3"].detail == ""
    note = "the file is 2.0 s longer than its window"
    assert statuses["long_0_3"].detail == note * notes
    assert statuses["long_0_3"].status == Status.OK


def test_two_runs_write_the_same_bytes(corpus, tmp_path):
    decode(corpus, tmp_path / "first")
    decode(corpus, tmp_path / "second")
    for name in ("1-of-1.safetensors", "1-of-1.status.tsv"):
        first, second = (tmp_path / run / name for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_shard_without_any_file_is_empty_and_whole(tmp_path):
    (tmp_path / "none").mkdir()
    shard, statuses = decode(tmp_path / "none", tmp_path)
    assert shard.names == ()
    assert shard["frames"].shape == (0, T, 1, 96, 96, 3)
    assert statuses["gone_0_3"].status == Status.MISSING


def test_the_header_says_how_the_numbers_were_made(corpus, tmp_path):
    shard, _ = decode(corpus, tmp_path)
    assert shard.meta["segments"] == str(T)
    assert shard.meta["frame_transform"] == "valor"
    assert shard.meta["fingerprint"] == Decoding(**SMALL).fingerprint()


def test_every_parameter_changes_the_fingerprint():
    changes = [
        {"segments": 9}, {"sampling": "valor"}, {"frames_per_segment": 2}, {"frame_size": 96},
        {"frame_transform": "valor"}, {"missing_audio": "drop"}, {"missing_video": "pad"},
        {"short": "drop"}, {"untrimmed": True}, {"decoder": "decord"},
        {"audio_slicing": "valor"},
    ]  # fmt: skip
    fingerprints = {Decoding(**change).fingerprint() for change in [{}, *changes]}
    assert len(fingerprints) == len(changes) + 1


def test_parameters_that_do_not_go_together_are_refused():
    with pytest.raises(PipelineError, match="must be 1 with sampling 'valor'; it is 4"):
        validated(Decoding, {"sampling": "valor", "frames_per_segment": 4})
    with pytest.raises(PipelineError, match="'segments' is 0; it must be greater"):
        validated(Decoding, {"segments": 0})


def test_the_command_line_decodes_a_shard_of_the_tables(corpus, tmp_path):
    for table, names in (
        ("AVVP_train.csv", ["good_0_3", "short_10_13"]),
        ("AVVP_val_pd.csv", ["gone_5_8"]),
        ("AVVP_test_pd.csv", ["-dash_1_4"]),
    ):
        text = "filename\tevent_labels\n" + "".join(f"{name}\tDog\n" for name in names)
        (tmp_path / table).write_text(text)
    words = ["--annotations", str(tmp_path), "--videos", str(corpus), "--untrimmed"]
    out = ["--out", str(tmp_path / "s.safetensors"), "--status", str(tmp_path / "s.status.tsv")]
    stage = [
        "segments",
        *words,
        "--shard",
        "1-of-1",
        "--segments",
        "3",
        *out,
    ]
    assert main([*stage, "--frame-size", "96", "--frame-transform", "valor"]) == 0
    shard = read_shard(tmp_path / "s.safetensors")
    assert shard.names == (
        "-dash_1_4",
        "good_0_3",
    )
    assert [number_in(frame) for frame in shard["frames"][0, :, 0]] == [45, 75, 105]
    statuses = {row.filename: row.status for row in read_status(tmp_path / "s.status.tsv")}
    assert statuses["short_10_13"] == Status.TOO_SHORT, "its window lies after its end"
    assert statuses["gone_5_8"] == Status.MISSING
