"""Videos with few key frames: windows in order, each frame decoded once."""

from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

from pipeline.core.shards import read_shard
from pipeline.media import one_pass, segments
from pipeline.media.frames import FrameReader
from pipeline.media.options import Decoding
from pipeline.media.probe import probe
from pipeline.media.segments import Decoded, decode_video, run_shard
from pipeline.media.video_window import VideoWindow, following_starts

FPS, SECONDS, T, LONG = 10, 20, 4, 3.0
X264 = {"preset": "veryfast", "bf": "3", "g": "9999", "sc_threshold": "0"}
KINDS = {
    "h264.mp4": {"video_options": X264},
    "h264.ts": {"video_options": X264},
    "vp8.webm": {"video_codec": "libvpx", "audio_codec": "libopus", "rate": 48_000,
                 "video_options": {"deadline": "realtime", "cpu-used": "8", "g": "9999"}},
}  # fmt: skip
DECODING = Decoding(segments=T, frame_size=96, frame_transform="valor", missing_video="pad")


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    return write_clip(folder / request.param, seconds=SECONDS, fps=FPS, **KINDS[request.param])


@pytest.fixture(autouse=True)
def _short_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "LONG_SECONDS", LONG)
    one_pass._PROCESS.begin(None)


@pytest.fixture
def decoded_times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the times of all frames that are decoded."""
    seen: list[int] = []
    frames = FrameReader.frames

    def noted(reader: FrameReader, *arguments):
        for frame in frames(reader, *arguments):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(FrameReader, "frames", noted)
    return seen


def windows_of(path: Path, step: int) -> list[VideoWindow]:
    starts = tuple(range(0, SECONDS - T + 1, step))
    return [
        VideoWindow(
            "a", str(path), start, start + T, following=following_starts(starts, n, start + T)
        )
        for n, start in enumerate(starts)
    ]


def decode_alone(window: VideoWindow, decoding: Decoding = DECODING) -> Decoded:
    one_pass._PROCESS.begin(None)
    return decode_video(VideoWindow("a", window.path, window.start, window.end), decoding)


def same(a: Decoded, b: Decoded) -> bool:
    arrays = [(a.frames, b.frames), (a.audio, b.audio)]
    return a.row == b.row and all(np.array_equal(one, other) for one, other in arrays)


@pytest.mark.parametrize("sampling", ["center", "valor"])
def test_windows_in_order_are_those_decoded_alone(path, sampling, decoded_times):
    decoding = DECODING.model_copy(update={"sampling": sampling})
    windows = windows_of(path, step=2)
    together = [decode_video(window, decoding) for window in windows]
    early = sum(window.start + T for window in windows if window.start <= LONG + 2)
    assert len(decoded_times) <= FPS * (SECONDS + early), "a frame is decoded again and again"
    for window, decoded in zip(windows, together, strict=True):
        assert same(decoded, decode_alone(window, decoding))


def test_a_window_before_the_pass_or_of_other_options_is_decoded_alone(path):
    windows, media = windows_of(path, step=T), probe(path)
    for window in windows[1:4]:
        decode_video(window, DECODING)
    assert one_pass.is_reached(media, windows[4].start, DECODING)
    other = DECODING.model_copy(update={"sampling": "valor"})
    assert not one_pass.is_reached(media, windows[4].start, other)
    assert not one_pass.is_reached(media, windows[2].start, DECODING)
    again = decode_video(windows[2], DECODING)
    assert same(again, decode_alone(windows[2]))


def test_the_time_limit_of_a_window_keeps_what_was_decoded_before_it(
    path, decoded_times, monkeypatch
):
    windows = windows_of(path, step=T)
    for window in windows[1:3]:
        decode_video(window, DECODING)
    with monkeypatch.context() as patch:
        patch.setattr(segments, "VIDEO_SHARE", 0.0)
        assert decode_video(windows[3], DECODING).row.status == "timeout"
    decoded_times.clear()
    decoded = decode_video(windows[4], DECODING)
    assert 0 < len(decoded_times) <= FPS * (2 * T + 1), "the pass began from the start again"
    assert same(decoded, decode_alone(windows[4]))


def test_a_shards_windows_of_one_file_keep_their_names(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=SECONDS, fps=FPS, **KINDS["h264.mp4"])
    rows = [VideoWindow(f"a_{start}", str(path), start, start + T) for start in (16, 4, 0, 12, 8)]
    run_shard(rows, DECODING, 1, tmp_path / "s.safetensors", tmp_path / "s.tsv")
    shard = read_shard(tmp_path / "s.safetensors")
    assert list(shard.names) == sorted(row.name for row in rows)
    for name, frames in zip(shard.names, shard["frames"], strict=True):
        row = next(row for row in rows if row.name == name)
        np.testing.assert_array_equal(frames, decode_alone(row).frames)
