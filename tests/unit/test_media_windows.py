"""Windows in the middle of files: begun where a decoder can begin, ended where they end."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import sound, tone, write_clip
from decoded import frames_of, numbers, sound_of, tones, window_of

from pipeline.media import probe, random_access, sampling, window
from pipeline.media.audio import read_audio
from pipeline.media.frames import read_frames

X264 = {"preset": "veryfast", "bf": "3"}
LONG_GROUPS = {"video_options": X264 | {"g": "300", "sc_threshold": "0"}}
OPEN_GROUPS = {"video_options": X264 | {"g": "60", "x264-params": "open-gop=1"}}
INTRA_REFRESH = {"video_options": X264 | {"g": "150", "intra-refresh": "1"}}
HEVC = {
    "video_codec": "libx265",
    "video_options": {
        "preset": "ultrafast",
        "x265-params": "keyint=75:open-gop=1:log-level=none:pools=1",
    },
}
FPS, SECONDS, T = 25, 27, 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("long groups.ts", LONG_GROUPS),
        ("long groups.mkv", LONG_GROUPS),
        ("open groups.ts", OPEN_GROUPS),
        ("open groups.mp4", OPEN_GROUPS),
        ("intra refresh.ts", INTRA_REFRESH),
        ("intra refresh.mp4", INTRA_REFRESH),
        ("intra refresh.mkv", INTRA_REFRESH),
        ("hevc.ts", HEVC),
        ("late clock.ts", LONG_GROUPS | {"video_start": 900, "audio_start": 900}),
    ],
)
def test_a_later_windows_frames_are_those_of_the_whole_file(tmp_path, name, options):
    grain = np.random.default_rng(0)
    path = write_clip(tmp_path / name, seconds=SECONDS, fps=FPS, grain=grain, **options)
    with av.open(str(path)) as container:
        shown = [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    origin = probe.probe(path).origin
    for start in (8.0, 22.0):
        times = start + sampling.center_times(T, 1) + origin
        expected = [[picture for at, picture in shown if at <= t + 1e-3][-1] for t in times]
        result = frames_of(path, start=start, decoder="pyav")
        np.testing.assert_array_equal(result.pictures, np.stack(expected))
        assert result.damaged == 0
        assert tones(path, start=start) == [tone(int(start) + second) for second in range(T)]


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4"])
def test_only_what_a_later_window_depends_on_is_kept(tmp_path, name):
    path = write_clip(tmp_path / name, seconds=SECONDS, fps=FPS, **OPEN_GROUPS)
    with window_of(path, start=22.0) as opened:
        packets = opened.video.packets
    span = T + window.MARGIN_SECONDS + 60 / FPS
    assert len(packets) <= FPS * span + 8, "more than the window and its last group before"
    assert packets[0].is_keyframe


def information(*messages: tuple[int, bytes]) -> bytes:
    """Return a unit of supplemental information with some messages, kind and content."""
    unit = bytes([random_access.INFORMATION])
    for kind, content in messages:
        whole, rest = divmod(len(content), 255)
        unit += bytes([kind]) + b"\xff" * whole + bytes([rest]) + content
    return unit + b"\x80"


@pytest.mark.parametrize(
    ("unit", "is_exact"),
    [
        (information((6, b"\xc4")), True),
        (information((6, b"\x84")), False),  # at once, but not exact
        (information((6, b"\x4c")), False),  # one frame later
        (information((5, bytes(range(1, 201)) * 2), (6, b"\xc4")), True),
        (information((5, b"\0\0\3\0\0\3"), (6, b"\xc4")), False),  # sizes do not count the threes
        (information((5, b"\0\0\0\0")).replace(b"\0\0\0\0", b"\0\0\3\0\0") + b"\6\1\xc4", False),
        (information((5, b"text")), False),
        (information((6, b"\xc4"))[:-2], False),  # cut
        (b"\x06", False),
        (b"\x41\x06\x01\xc4", False),  # a picture
    ],
)
def test_recovery_points_are_read(unit, is_exact):
    assert begins_at(unit) == is_exact


def begins_at(unit: bytes) -> bool:
    """Return whether a decoder can begin at an H.264 key frame whose packet has this unit."""
    codec = SimpleNamespace(canonical_name="h264")
    header = b"\1\0\0\0\3"  # sizes of four bytes stand before units
    stream = SimpleNamespace(codec_context=SimpleNamespace(codec=codec, extradata=header))
    packet = av.Packet(len(unit).to_bytes(4, "big") + unit)
    packet.is_keyframe = True
    return random_access.is_turning_point(stream, packet)


def test_bytes_that_keep_start_codes_out_are_not_counted():
    plain = information((5, b"ab\0\0\1cd"), (6, b"\xc4"))
    assert begins_at(plain.replace(b"\0\0\1", b"\0\0\3\1"))


@pytest.mark.parametrize("start", [0, 6])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("lasts", [(2.5, 40), (40, 2.5)])
def test_a_file_is_not_read_to_its_end_for_a_stream_that_has_ended(tmp_path, name, start, lasts):
    sound_lasts, pictures_last = lasts
    times = np.arange(round(pictures_last * FPS)) / FPS
    path = write_clip(tmp_path / name, times=times, audio=sound(sound_lasts, 44_100)[None])
    with probe.open_media(path) as container:
        media = probe.describe(container, path)
        opened = window.read_window(container, media, start, T)
        following = next(packet for packet in container.demux() if packet.dts is not None)
    stop = start + T + window.MARGIN_SECONDS
    assert float(following.dts * following.time_base) < stop + window.INTERLEAVING_SECONDS + 2.5
    assert start or min(_end(opened.audio), _end(opened.video)) > 2.4


def _end(track: window.Track) -> float:
    return max(float((p.pts + p.duration) * p.time_base) for p in track.packets)


@pytest.mark.parametrize("lasts", [(2.5, 20), (20, 2.5)])
def test_a_transport_streams_last_packet_is_had(tmp_path, lasts):
    """It is whole when the next one begins, and where there is none, at the file's end."""
    sound_lasts, pictures_last = lasts
    times = np.arange(round(pictures_last)) if pictures_last > 3 else np.array([0.0, 1.0, 2.0])
    path = write_clip(tmp_path / "a.ts", times=times, fps=1, audio=sound(sound_lasts, 44_100)[None])
    assert len(set(numbers(frames_of(path, decoder="pyav")))) == min(len(times), T)
    assert sound_of(path).end == pytest.approx(min(sound_lasts, T), abs=0.05)


def test_packets_without_decoding_times_end_at_their_presentation_times():
    stream = SimpleNamespace(index=0, time_base=Fraction(1, 10))
    packets = [
        SimpleNamespace(stream_index=0, dts=None, pts=tick, size=1, time_base=stream.time_base)
        for tick in range(1000)
    ]
    container = SimpleNamespace(
        streams=[stream], demux=lambda _: iter(packets), format=SimpleNamespace(name="ogg")
    )
    media = SimpleNamespace(origin=0.0, video=0, audio=None)
    kept = window.read_window(container, media, 0.0, 3).video.packets
    last = round(10 * (3 + window.MARGIN_SECONDS))
    assert [packet.pts for packet in kept] == list(range(last + 1))


# Windows shorter than T


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("start", [0, 5])
def test_what_a_file_has_after_a_windows_end_is_not_there(tmp_path, start, decoder):
    path = write_clip(tmp_path / "clip.mp4", seconds=12)
    with probe.open_media(path) as container:
        media = probe.describe(container, path)
        opened = window.read_window(container, media, start, T, seconds=2.5)
        frames = read_frames(opened, 1, sampling.sample_center, lambda picture: picture, decoder)
        heard = read_audio(opened)
    last = start * 30 + 74
    assert numbers(frames) == [start * 30 + 15, start * 30 + 45, last, last]
    assert frames.end == pytest.approx(2.5)
    assert heard.end == pytest.approx(2.5)
    assert heard.samples[: round(2.49 * 48_000)].reshape(-1, 10).any(axis=1).all()
    assert not heard.samples[round(2.51 * 48_000) :].any()
    assert sound_of(path, start).end == T


def test_a_timeline_ends_at_its_stop_and_never_empties():
    ticks = np.arange(4)
    timeline = sampling.Timeline(ticks, ticks * 0.5, np.full(4, 0.5), rounding=1e-4)
    assert timeline.until(0.75).seconds.tolist() == [0.0, 0.5]
    assert timeline.until(0.75).end == pytest.approx(0.75)
    assert timeline.until(1.0).seconds.tolist() == [0.0, 0.5], "the frame of the next window"
    assert timeline.until(9.0).end == pytest.approx(2.0)
    assert timeline.until(-1.0).pts.tolist() == [0]
    assert timeline.until(-1.0).end == 0.0
