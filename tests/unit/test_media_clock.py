"""Files whose packet times go back, begin late, lag behind or are made up."""

import itertools
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import number_in, sound, tone, write_clip
from decoded import frames_of, numbers, sound_of, tones, window_of

from pipeline.core.errors import ItemError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.inference.videos import inspect
from pipeline.media.audio import read_audio
from pipeline.media.clock import Clock
from pipeline.media.options import Decoding
from pipeline.media.segments import decode_video
from pipeline.media.video_window import VideoWindow

FPS = 10
X264 = {"preset": "veryfast", "bf": "2", "g": "10"}
KINDS = {
    "ts": {"video_options": X264, "rate": 48_000},
    "mpg": {"video_codec": "mpeg2video", "video_options": {"g": "10", "b": "2M"}, "clock": 25,
            "fps": 25, "audio_codec": "mp2", "rate": 48_000},
    "webm": {"video_codec": "libvpx", "audio_codec": "libopus", "rate": 48_000,
             "video_options": {"deadline": "realtime", "cpu-used": "8", "g": "10"}},
    "ogg": {"video_codec": None, "audio_codec": "libopus", "rate": 48_000},
}  # fmt: skip


def ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [ffmpeg_path(), "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True)


def part(path: Path, seconds: float, **changes) -> Path:
    options = {"fps": FPS, "seconds": seconds} | KINDS[path.suffix[1:]] | changes
    return write_clip(path, container_format={".mpg": "vob"}.get(path.suffix), **options)


def joined(folder: Path, extension: str, *parts: dict) -> Path:
    """Write files and join them by their bytes."""
    paths = [part(folder / f"{n}.{extension}", **options) for n, options in enumerate(parts)]
    whole = folder / f"joined.{extension}"
    whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    return whole


def numbers_at(fps: float, *lengths: int) -> list[int]:
    """Return the numbers in the middle of every second of parts that each begin with frame 0."""
    return [int((second + 0.5) * fps) for length in lengths for second in range(length)]


def read_all(path: Path, length: int) -> tuple[list[int], list[float]]:
    """Return the numbers and tones of all seconds, read in windows of four seconds."""
    starts, has_pictures = range(0, length, 4), path.suffix != ".ogg"
    shown = [numbers(frames_of(path, start, decoder="pyav")) for start in starts if has_pictures]
    heard = [tones(path, start) for start in starts]
    return [*itertools.chain(*shown)][:length], [*itertools.chain(*heard)][:length]


@pytest.mark.parametrize("extension", KINDS)
def test_joined_files_are_read_in_order(tmp_path, extension):
    path = joined(tmp_path, extension, {"seconds": 3}, {"seconds": 5})
    shown, heard = read_all(path, 8)
    expected = numbers_at(KINDS[extension].get("fps", FPS), 3, 5)
    assert np.abs(np.subtract(shown, expected[: len(shown)])).max(initial=0) <= 1
    assert heard == [tone(second) for second in (0, 1, 2, 0, 1, 2, 3, 4)]
    assert inspect(path).length == 8
    row = decode_video(VideoWindow("a", str(path), 0, 8), Decoding(segments=8, missing_video="pad"))
    assert "packet times start again at 3.0" in row.row.detail
    assert row.row.audio_seconds == 8


@pytest.mark.parametrize("extension", ["ts", "mpg"])
def test_a_leap_of_the_clock_is_closed_as_in_ffmpeg(tmp_path, extension):
    late = {"seconds": 4, "video_start": 500, "audio_start": 500}
    path = joined(tmp_path, extension, {"seconds": 4}, late)
    shown, heard = read_all(path, 8)
    expected = numbers_at(KINDS[extension].get("fps", FPS), 4, 4)
    assert np.abs(np.subtract(shown, expected)).max() <= 1
    assert heard == [tone(second) for second in (0, 1, 2, 3) * 2]


def test_a_clock_that_wraps_around_rises(tmp_path):
    plain = part(tmp_path / "plain.ts", 8)
    wraps = tmp_path / "wraps.ts"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "95440", "-muxdelay", "0", wraps)
    with av.open(str(wraps)) as container:
        assert container.start_time < -1e6, "the clock does not wrap around in the file"
    assert read_all(wraps, 8) == read_all(plain, 8)


def test_a_part_begins_after_the_longer_stream_of_the_one_before(tmp_path):
    longer = {"seconds": 3, "audio": sound(4, 48_000)[None]}
    path = joined(tmp_path, "ts", longer, {"seconds": 4})
    shown, heard = read_all(path, 8)
    assert shown[:3] + shown[4:] == pytest.approx(numbers_at(FPS, 3, 4), abs=1)
    assert heard == [tone(second) for second in (0, 1, 2, 3) * 2]


def test_a_change_of_rate_where_times_start_again_is_an_error_not_a_wrong_mix(tmp_path):
    path = joined(tmp_path, "ts", {"seconds": 3}, {"seconds": 3, "rate": 44_100})
    with pytest.raises(ItemError, match="decode_error: the audio changes its sample rate"):
        sound_of(path)


def rising(name: str, *packets: tuple) -> list[tuple]:
    """Return stream, time and decoding time of packets on the rising clock, in 0.1 s."""
    streams = [SimpleNamespace(index=index, time_base=Fraction(1, 10)) for index in (0, 1)]
    clock = Clock(SimpleNamespace(format=SimpleNamespace(name=name)), streams)
    made = [
        SimpleNamespace(stream_index=index, pts=pts, dts=dts, duration=1)
        for index, pts, dts in packets
    ]
    return [(p.stream_index, p.pts, p.dts) for p in clock.rising(made)]


def test_late_packets_of_a_part_stay_in_it():
    first = [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1), (0, 2, 2)]
    second = [(0, 0, 0), (1, 2, 2), (0, 1, 1), (1, 0, 0), (1, 1, 1)]
    assert rising("mpegts", *first, *second)[5:] == [
        (0, 3, 3), (1, 2, 2), (0, 4, 4), (1, 3, 3), (1, 4, 4),
    ]  # fmt: skip


def test_reordered_frames_and_streams_that_lag_behind_are_no_new_part():
    frames = [(0, 3, 0), (0, 1, 1), (0, 2, 2), (0, 6, 3), (0, 4, 4)]
    lagging = [(0, pts, pts) for pts in range(7, 300)] + [(1, pts, pts) for pts in range(300)]
    assert rising("mpegts", *frames, *lagging) == [*frames, *lagging]


def test_formats_with_an_index_keep_their_times():
    back = [(0, 50, 50), (0, 0, 0), (0, None, None)]
    assert rising("mov,mp4,m4a,3gp,3g2,mj2", *back) == back
    assert rising("matroska,webm", *back) == [(0, 50, 50), (0, 51, 51), (0, None, None)]


# Streams that begin late, or lag behind


@pytest.mark.parametrize("extension", ["ts", "mpg"])
@pytest.mark.parametrize("late", ["audio_start", "video_start"])
def test_a_stream_that_begins_after_the_probed_part_is_there(tmp_path, extension, late):
    """Transport and program streams list their streams nowhere, or without parameters."""
    fps = KINDS[extension].get("fps", FPS)
    if late == "audio_start":
        lengths = {"seconds": 19, "audio": sound(3, 48_000)[None]}
    else:
        lengths = {"seconds": 19, "times": np.arange(3 * fps) / fps}
    path = part(tmp_path / f"a.{extension}", **lengths, **{late: 16.0})
    facts = inspect(path)
    assert facts.sound
    assert facts.pictures
    if late == "audio_start":
        assert tones(path, 16, segments=2) == [tone(0), tone(1)]
    else:
        shown = numbers(frames_of(path, 16, segments=2, decoder="pyav"))
        assert shown == pytest.approx(numbers_at(fps, 2), abs=1)
        with pytest.raises(ItemError, match="no_video_stream: the video has no frames in the w"):
            frames_of(path, 4, segments=2)


def test_a_refused_seek_reads_from_the_start(tmp_path):
    path = write_clip(
        tmp_path / "a.flv", seconds=10, video_start=6.0, video_codec="flv", clock=30,
        video_options={"g": "10"}, audio_codec="libmp3lame",
    )  # fmt: skip
    with av.open(str(path)) as container:
        assert [*container.demux()]
        with pytest.raises(av.FFmpegError):  # a time before those of the stream that are known
            container.seek(0, stream=container.streams.video[0])
    shown = numbers(frames_of(path, 4, segments=4, decoder="pyav"))
    assert shown == pytest.approx([0, 0, 15, 45], abs=1)


def test_a_stream_that_lags_ten_seconds_behind_has_not_ended(tmp_path):
    plain = write_clip(tmp_path / "a.mp4", seconds=24, fps=FPS)
    apart = tmp_path / "apart.mkv"
    options = {"max_interleave_delta": "1"}
    with av.open(str(plain)) as source, av.open(str(apart), "w", options=options) as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        packets = [packet for packet in source.demux() if packet.dts is not None]
        for packet in sorted(packets, key=lambda packet: packet.stream_index):
            packet.stream = streams[packet.stream_index]
            target.mux(packet)
    for start in (0, 1, 8, 18):
        assert tones(apart, start) == [tone(start + second) for second in range(4)]
        assert numbers(frames_of(apart, start)) == [10 * (start + s) + 5 for s in range(4)]


# Presentation times that are made up, or that decord does not keep to


def shown_by_ffmpeg(path: Path, times: np.ndarray) -> list[int]:
    """Return the numbers of the frames that the program shows at times of the file."""
    streams = ["-map", "0:v", "-map", "0:a?", "-fps_mode", "passthrough", "-vf", "showinfo"]
    log = ffmpeg("-copyts", "-i", path, *streams, "-f", "null", "-").stderr.decode()
    onsets = np.array(re.findall(r"pts_time:\s*(-?[\d.]+)", log), dtype=float)
    raw = path.with_suffix(".rgb")
    ffmpeg("-i", path, "-map", "0:v", *streams[4:6], "-pix_fmt", "rgb24", "-f", "rawvideo", raw)
    pictures = np.frombuffer(raw.read_bytes(), np.uint8).reshape(len(onsets), 96, 192, 3)
    places = np.maximum(np.searchsorted(onsets, times + 1e-3, side="right") - 1, 0)
    return [number_in(pictures[place]) for place in places]


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 3), ("libx264", 0), ("mpeg4", 2)])
def test_avi_is_shown_as_ffmpeg_shows_it(tmp_path, codec, b_frames):
    options = {"g": "20", "bf": str(b_frames)}
    path = write_clip(
        tmp_path / "a.avi", seconds=16, fps=FPS, clock=FPS, video_codec=codec,
        video_options=options, audio_codec="pcm_s16le",
    )  # fmt: skip
    for start in (0, 1.3, 7, 11):
        times = start + np.arange(4) + 0.5
        for decoder in ("pyav", "decord"):
            result = frames_of(path, start, decoder=decoder)
            assert numbers(result) == shown_by_ffmpeg(path, times)
            assert result.backend == "pyav" or not b_frames
            assert result.damaged == 0


@pytest.mark.parametrize(
    ("codec", "options", "backend"),
    [
        ("mpeg4", {"g": "12", "bf": "2"}, "pyav"),
        ("libx264", {"g": "20", "x264-params": "intra-refresh=1"}, "pyav"),
        ("libx264", {"g": "20", "x264-params": "open-gop=1:bframes=3"}, "pyav"),
        ("libx264", {"g": "20", "bf": "3"}, "decord"),
    ],
)
def test_decord_is_offered_only_where_its_frames_are_right(tmp_path, codec, options, backend):
    path = write_clip(
        tmp_path / "a.mp4", seconds=6, fps=FPS, clock=FPS, video_codec=codec, video_options=options
    )
    result = frames_of(path, segments=6, decoder="decord")
    assert numbers(result) == [5, 15, 25, 35, 45, 55]
    assert result.backend == backend


# Few key frames


def test_a_time_limit_for_pictures_keeps_the_sound(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=3)
    window = VideoWindow("a_0_3", str(path), 0.0, 3.0)
    short = {"segments": 3, "timeout_seconds": 1e-4}
    decoded = decode_video(window, Decoding(missing_video="pad", **short))
    assert decoded.status == decoded.row.status == Status.TIMEOUT
    assert (decoded.row.video_seconds, decoded.row.audio_seconds) == (0, 3)
    assert not decoded.frames.any()
    with window_of(path, segments=3) as opened:
        np.testing.assert_array_equal(decoded.audio, read_audio(opened).samples)
    with pytest.raises(ItemError, match="timeout: decoding the video takes longer"):
        decode_video(window, Decoding(missing_video="drop", **short))
