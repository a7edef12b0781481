"""Which streams are decoded, how their pictures are turned, and what the status says of them."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import sound, write_clip
from containers import Plan, ffmpeg, plan_of
from decoded import T, frames_of
from truth import compare

from pipeline.core.errors import ItemError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.inference.playback import make_playable, playable_type
from pipeline.inference.videos import inspect
from pipeline.media import transforms
from pipeline.media.options import Decoding
from pipeline.media.probe import probe
from pipeline.media.segments import Decoded, decode_video
from pipeline.media.video_window import VideoWindow

SMALL, LARGE = "color=red:s=64x48:r=5:d=2", "color=blue:s=96x64:r=5:d=2"
MONO, STEREO = "sine=400:d=2", "sine=900:d=2,aformat=channel_layouts=stereo"
H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac"


def decoded(path: Path, start: float = 0.0) -> Decoded:
    decoding = Decoding(segments=T, frame_size=32, missing_video="pad")
    return decode_video(VideoWindow("a", str(path), start, start + T), decoding)


def write_streams(path: Path, sources: list[str], options: str) -> Path:
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    maps = [word for index in range(len(sources)) for word in ("-map", str(index))]
    ffmpeg(*inputs, *maps, *H264.split(), *options.split(), path)
    return path


def ffmpegs_choice(path: Path) -> list[int]:
    """Return the streams that the ffmpeg program takes where it is not told."""
    words = [ffmpeg_path(), "-nostdin", "-i", str(path), "-f", "null", "-"]
    log = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    return [int(index) for index in re.findall(r"Stream #0:(\d+) -> ", log)]


@pytest.mark.parametrize(
    ("name", "sources", "options", "expected", "note"),
    [
        ("a.mp4", [SMALL, MONO, MONO], "-disposition:a:0 0 -disposition:a:1 default", (0, 2),
         "audio stream 2 is used, not 1"),
        ("a.mkv", [SMALL, MONO, MONO], "-disposition:a:0 comment -disposition:a:1 default", (0, 2),
         "audio stream 2 is used, not 1 (comment)"),
        ("a.mkv", [SMALL, STEREO, MONO], "-disposition:a:0 0 -disposition:a:1 default", (0, 2),
         "audio stream 2 is used, not 1"),
        ("a.mp4", [LARGE, SMALL, MONO], "-disposition:v:0 0 -disposition:v:1 default", (1, 2),
         "video stream 1 is used, not 0"),
        ("a.ts", [SMALL, MONO, STEREO, MONO], "", (0, 2), "audio stream 2 is used, not 1, 3"),
        ("a.avi", [SMALL, LARGE, MONO, MONO], "-c:a mp2", (1, 2),
         "video stream 1 is used, not 0; audio stream 2 is used, not 3"),
        ("a.ts", [SMALL, SMALL, MONO], "", (0, 2), "video stream 0 is used, not 1"),
        ("a.ts", [SMALL, MONO], "", (0, 1), ""),
    ],
)  # fmt: skip
def test_the_stream_that_ffmpeg_takes_is_decoded(tmp_path, name, sources, options, expected, note):
    path = write_streams(tmp_path / name, sources, options)
    media = probe(path)
    assert (media.video, media.audio.index) == expected
    assert ffmpegs_choice(path) == list(expected)
    assert media.choice == note
    assert note in decoded(path).row.detail


def test_a_stream_for_the_blind_is_taken_only_where_there_is_no_other(tmp_path):
    impaired = "-disposition:a:0 visual_impaired"
    path = write_streams(tmp_path / "a.ts", [SMALL, MONO, MONO], impaired)
    assert probe(path).audio.index == 2, "as players do; the ffmpeg program takes the first"
    assert probe(path).choice == "audio stream 2 is used, not 1 (visual impaired, descriptions)"
    alone = write_streams(tmp_path / "b.ts", [SMALL, MONO], impaired)
    assert probe(alone).audio.index == 1


def test_a_page_plays_the_streams_that_are_parsed(tmp_path):
    options = "-disposition:a:0 0 -disposition:a:1 default"
    path = write_streams(tmp_path / "a.mp4", [SMALL, STEREO, MONO], options)
    facts = inspect(path)
    assert playable_type(facts) is None, "a browser may play the other one"
    copy = make_playable(path, facts, tmp_path / "page", 0).path
    assert probe(copy).choice == ""
    assert probe(copy).audio.channels == 1


# Orientation

FLIPS = [[], ["-display_hflip"], ["-display_vflip"], ["-display_hflip", "-display_vflip"]]
ONES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("degrees", "flip"), [(90, 1), (180, 0), (270, 2), (0, 1), (0, 2), (90, 0)]
)
def test_pictures_are_turned_as_ffmpeg_turns_them(tmp_path, degrees, flip, suffix):
    plain, turned = tmp_path / "plain.mp4", tmp_path / f"turned.{suffix}"
    write_streams(plain, ["testsrc2=s=64x48:r=5:d=1"], "")
    ffmpeg("-display_rotation", str(degrees), *FLIPS[flip], "-i", plain, "-c", "copy", turned)
    still = tmp_path / "still.rgb"
    ffmpeg("-i", turned, "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", still)
    for decoder in ("pyav", "decord"):
        result = frames_of(turned, sampler=lambda *_: np.array([0]), segments=1, decoder=decoder)
        assert result.backend == "pyav", "decord mirrors nothing, and turns nothing in Matroska"
        shown = np.fromfile(still, np.uint8).reshape(result.pictures[0].shape)
        np.testing.assert_array_equal(result.pictures[0], shown)
    facts = inspect(turned)
    assert facts.pictures.turn == ("mirrored" if flip else "rotated")
    assert (playable_type(facts) is None) == (suffix == "mkv" or bool(flip))
    copy = make_playable(turned, facts, tmp_path / "page", 0).path
    assert inspect(copy).pictures.turn == ("" if flip else "rotated")


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    return (np.array([a, b, 0, c, d, 0, 0, 0, 16384]) * 65536).astype(np.int32).tobytes()


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ((1, 0, 0, 1), ONES),
        ((-1, 0, 0, 1), ONES[:, ::-1]),
        ((1, 0, 0, -1), ONES[::-1]),
        ((-1, 0, 0, -1), ONES[::-1, ::-1]),
        ((0, 1, -1, 0), np.rot90(ONES, -1)),
        ((0, -1, 1, 0), np.rot90(ONES)),
        ((0, 1, 1, 0), ONES.transpose(1, 0, 2)),
        ((0, -1, -1, 0), ONES[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 0, 0, 0), ONES),
    ],
)
def test_every_display_matrix(turn, expected):
    np.testing.assert_array_equal(transforms.upright(ONES, matrix(*turn)), expected)


def test_an_oblique_display_matrix_turns_the_picture_in_its_frame():
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[45:55, 100:] = 255  # a hand at three o'clock
    turned = transforms.upright(picture, matrix(cosine, sine, -sine, cosine))
    assert turned.shape == picture.shape
    rows, columns = np.nonzero(turned[:, :, 0] > 128)
    far = columns > 150
    slope = (rows[far].mean() - 49.5) / (columns[far].mean() - 99.5)
    assert slope == pytest.approx(np.tan(np.pi / 6), abs=0.05), "now at four o'clock"


# What a status says


def test_a_single_picture_is_shown_as_long_as_the_file_lasts(tmp_path):
    path = write_clip(tmp_path / "still.mp4", times=[0.0], audio=sound(10, 44_100)[None])
    for start in (0.0, 5.0):
        clip = decoded(path, start)
        assert (clip.row.status, clip.row.detail) == (Status.OK, "a single picture is shown")
        assert clip.row.video_seconds == T
        assert clip.frames.std() > 50
        assert (clip.frames == clip.frames[0]).all()
    last = decoded(path, 8.0).row
    assert last.status == Status.TOO_SHORT
    assert "video ends at 2.0" in last.detail
    facts = inspect(path)
    assert facts.pictures.end == pytest.approx(facts.seconds)
    assert facts.present.all()


def test_the_first_picture_of_a_short_window_is_not_the_only_one(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=T, fps=1)
    decoding = Decoding(segments=T, frame_size=32)
    row = decode_video(VideoWindow("a", str(path), 0.0, 0.9), decoding).row
    assert "single picture" not in row.detail
    assert row.video_seconds == pytest.approx(0.9)


def test_a_picture_without_sound_does_not_last(tmp_path):
    path = write_clip(tmp_path / "still.mp4", times=[0.0], audio_codec=None)
    assert decoded(path).row.status == Status.TOO_SHORT


def test_a_stream_that_has_ended_is_not_said_to_end_before_zero(tmp_path):
    sounding = sound(9, 44_100)[None]
    path = write_clip(tmp_path / "a.mp4", seconds=2, fps=5, audio=sounding)
    assert "video ended 2.00 s before the window" in decoded(path, 4.0).row.detail


@pytest.mark.parametrize(("begins", "status"), [(0.3, Status.OK), (1.5, Status.TOO_SHORT)])
def test_sound_that_begins_late_is_said_to(tmp_path, begins, status):
    path = write_clip(tmp_path / "a.mkv", seconds=T, fps=5, audio_start=begins, audio_codec="flac")
    row = decoded(path).row
    assert (row.status, row.detail) == (status, f"audio starts at {begins:.2f} s")
    assert row.audio_seconds == pytest.approx(T - begins, abs=0.01)


def test_sound_that_pauses_beyond_the_window_ends_in_it(tmp_path):
    """Else the samples after the pause would count for the pause."""
    path = tmp_path / "a.mkv"
    pause = "sine=400:d=12:r=48000,aselect='not(between(t,2,9))'"
    ffmpeg("-f", "lavfi", "-i", pause, "-c:a", "pcm_s16le", path)
    for start, note in ((0.0, "audio ends at 2.0"), (6.0, "audio starts at 3.0")):
        row = decoded(path, start).row
        assert note in row.detail
        assert row.audio_seconds == pytest.approx(2 if start == 0 else 1, abs=0.05)
    with pytest.raises(ItemError, match="neither video nor audio from 4 to 8 s"):
        decoded(path, 4.0)


def test_sound_that_begins_after_the_window_is_not_there(tmp_path):
    path = write_clip(tmp_path / "a.mkv", seconds=T, fps=5, audio_start=T + 1, audio_codec="flac")
    assert decoded(path).row.status == Status.NO_AUDIO_STREAM


@pytest.mark.parametrize(
    ("gain", "detail"), [(1.9, ""), (4.0, "65.0% of the audio is beyond full scale and clipped")]
)
def test_sound_beyond_full_scale_is_said_to_be_clipped(tmp_path, gain, detail):
    path = tmp_path / "loud.wav"
    source = f"aevalsrc=exprs={gain / 2}*sin(800*PI*t):s=48000:d={T}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:a", "pcm_f32le", path)
    clip = decoded(path)
    assert clip.damage == detail
    assert clip.row.detail.endswith(detail)
    assert clip.audio.max() == pytest.approx(min(gain / 2, 1) * 32_767, abs=2)


# Against the ffmpeg program

QUICK = {
    "cover_art", "cut", "display_matrix", "fragmented", "odd_size", "one_stream",
    "several_pictures", "several_sounds", "still_picture", "surround",
}  # fmt: skip


def test_containers_and_layouts_are_decoded_as_by_the_ffmpeg_program(tmp_path):
    """tests/benchmarks/fuzz_containers.py runs several hundred, and longer ones."""
    plans = (plan_of(15, number) for number in range(130))
    for number, plan in enumerate(plan for plan in plans if is_quick(plan)):
        found = compare(plan, tmp_path, number)
        assert not found, "\n".join([str(plan), *found])


def is_quick(plan: Plan) -> bool:
    return plan.seconds == 6 and plan.container != "avi" and set(plan.twists) <= QUICK
