import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from clips import HEIGHT, WIDTH, number_in, picture_of, sound, tone, write_clip
from decoded import T, frames_of, numbers, sound_of, tones
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.media import probe, sampling, transforms, worker


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([ffmpeg_path(), "-y", "-v", "error", *arguments], check=True)


MIDDLES = [15, 45, 75, 105]
TONES = [tone(second) for second in range(T)]


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize(
    ("name", "options", "backend"),
    [
        ("plain.mp4", {}, "decord"),
        ("b frames.mp4", {"video_options": {"preset": "medium", "g": "40"}}, "decord"),
        ("matroska.mkv", {}, "decord"),
        ("vp9.webm", {"video_codec": "libvpx-vp9", "audio_codec": "libopus", "rate": 48_000,
                      "video_options": {"cpu-used": "8", "deadline": "realtime"}}, "decord"),
        ("mpeg4.avi", {"video_codec": "mpeg4", "audio_codec": "pcm_s16le", "clock": 30,
                       "video_options": {}}, None),
        ("hevc.mkv", {"video_codec": "libx265", "video_options": {"preset": "ultrafast",
                      "x265-params": "log-level=none:pools=1"}}, None),
        ("odd.mp4", {"size": (WIDTH + 1, HEIGHT + 3), "pixel_format": "yuv444p"}, None),
        ("-option 'quoted'\n名.mp4", {}, "decord"),
        ("pattern%03d.mp4", {}, "decord"),
        ("quicktime.mov", {}, "decord"),
    ],
)  # fmt: skip
def test_each_segment_has_its_frame_and_its_tone(tmp_path, name, options, backend, decoder):
    path = write_clip(tmp_path / name, seconds=T, **options)
    result = frames_of(path, decoder=decoder)
    assert numbers(result) == MIDDLES
    assert tones(path) == TONES
    if decoder == "pyav" or backend:
        assert result.backend == (backend if decoder == "decord" else "pyav")


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize(
    ("fps", "per_segment", "expected"),
    [
        (1, 3, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        (120, 1, [60, 180, 300, 420]),
        (30, 3, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 105, 115]),
        (29.97, 1, [14, 44, 74, 104]),
    ],
)
def test_frames_are_those_on_the_screen(tmp_path, fps, per_segment, expected, decoder):
    for name in ("clip.mp4", "clip.mkv"):
        path = write_clip(tmp_path / name, seconds=T, fps=fps, audio_codec=None)
        assert numbers(frames_of(path, per_segment=per_segment, decoder=decoder)) == expected


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_variable_frame_rate_goes_by_time_not_by_index(tmp_path, decoder):
    times = [*np.arange(60) / 60, *(1 + np.arange(5) / 5), *(2 + np.arange(80) / 40)]
    path = write_clip(tmp_path / "vfr.mp4", times=times, seconds=T)
    expected = [max(k for k, shown in enumerate(times) if shown <= t + 0.5) for t in range(T)]
    result = frames_of(path, decoder=decoder)
    assert numbers(result) == expected
    assert result.backend == decoder


@settings(max_examples=15, deadline=None)
@given(
    gaps=st.lists(st.integers(8, 900), min_size=2, max_size=40),
    b_frames=st.booleans(),
)
def test_any_spacing_of_frames(tmp_path_factory, gaps, b_frames):
    times = [0.0, *np.cumsum(gaps) / 1000]
    preset = "medium" if b_frames else "ultrafast"
    path = tmp_path_factory.mktemp("gaps") / "clip.mp4"
    write_clip(path, times=times, audio_codec=None, video_options={"preset": preset})
    wanted = sampling.center_times(T, 1)
    expected = [max(k for k, shown in enumerate(times) if shown <= t + 5e-6) for t in wanted]
    for decoder in ("decord", "pyav"):
        assert numbers(frames_of(path, decoder=decoder)) == expected


X264 = {"preset": "medium", "bf": "3"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("closed.mp4", {"video_options": X264 | {"g": "12"}}),
        ("closed.ts", {"video_options": X264 | {"g": "12"}, "audio_codec": None}),
        ("open.mp4", {"video_options": X264 | {"g": "12", "x264-params": "open-gop=1"}}),
        ("refresh.mp4", {"video_options": X264 | {"g": "12", "intra-refresh": "1"}}),
        ("vp8.webm", {"video_codec": "libvpx", "audio_codec": None,
                      "video_options": {"g": "12", "deadline": "realtime"}}),
        ("vp9.webm", {"video_codec": "libvpx-vp9", "audio_codec": None,
                      "video_options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}}),
        ("av1.mkv", {"video_codec": "libsvtav1", "audio_codec": None,
                     "video_options": {"g": "12", "preset": "12", "svtav1-params": "lp=1"}}),
        ("hevc.mkv", {"video_codec": "libx265", "audio_codec": None, "video_options": {
                      "preset": "veryfast", "x265-params": "keyint=12:log-level=none:pools=1"}}),
        ("mpeg4.avi", {"video_codec": "mpeg4", "audio_codec": None, "clock": 30,
                       "video_options": {"g": "12"}}),
    ],
)  # fmt: skip
def test_skipping_what_is_not_wanted_changes_no_pixel(tmp_path, name, options):
    noise = np.random.default_rng(0)
    path = write_clip(tmp_path / name, seconds=2, grain=noise, **options)
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 60
    for count in (1, 1, 2, 5):
        chosen = np.sort(noise.choice(len(shown), count, replace=False))
        result = frames_of(path, sampler=lambda *_, chosen=chosen: chosen, decoder="pyav")
        np.testing.assert_array_equal(result.pictures, np.stack([shown[k] for k in chosen]))
        assert result.damaged == 0


def test_groups_without_a_wanted_frame_are_not_decoded(tmp_path):
    """Nothing but what the frames depend on is left whole, and nobody notices."""
    options = {"preset": "medium", "g": "10", "sc_threshold": "0"}
    path = write_clip(tmp_path / "clip.mp4", seconds=2, video_options=options)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    needed, group = set(), []
    for packet in packets:
        group = [packet.pos] if packet.is_keyframe else [*group, packet.pos]
        if round(packet.pts * packet.time_base * 30) in {10, 30, 51}:
            needed |= set(group)
    assert 3 < len(needed) < 10, "the beginnings of three groups, not 60 packets"
    content = bytearray(path.read_bytes())
    for packet in packets:
        if packet.pos not in needed:
            content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    result = frames_of(path, sampler=lambda *_: np.array([10, 30, 51]), decoder="pyav")
    assert numbers(result) == [10, 30, 51]
    assert result.damaged == 0
    assert frames_of(path, sampler=lambda *_: np.array([0]), decoder="pyav").damaged > 0


def test_edit_lists_are_honoured(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4", seconds=12, video_options={"preset": "medium", "g": "50"}
    )
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "3.3", "-i", whole, "-c", "copy", "-t", str(T), cut)
    result = frames_of(cut)
    assert numbers(result) == [99 + frame for frame in MIDDLES]
    assert result.backend == "pyav"
    expected = np.concatenate([sound(12, 48_000)[round(3.3 * 48_000) :][: T * 48_000]])
    samples = sound_of(cut).samples
    assert lag_and_correlation(samples, expected) == (0, pytest.approx(1.0, abs=2e-3))


@pytest.mark.parametrize("name", ["full.mp4", "full.mkv", "full.ts"])
def test_windows_of_full_videos(tmp_path, name):
    path = write_clip(tmp_path / name, seconds=30, video_options={"preset": "medium", "g": "100"})
    # A transport stream has no edit list to hide the encoder's first 1024 samples: its clock
    # begins with them, 23 ms before the first frame.
    offset = 1024 / 44_100 if name.endswith(".ts") else 0.0
    for start in (1, 7.1, 20):
        result = frames_of(path, start=start + offset)
        assert numbers(result) == [round(start * 30) + frame for frame in MIDDLES]
    assert tones(path, start=20 + offset) == [tone(20 + second) for second in range(T)]


def test_streams_that_begin_late_stay_on_the_clock(tmp_path):
    lossless = {"audio_codec": "flac", "rate": 48_000, "layout": "mono"}
    for name, options, slack in (("late.mkv", lossless, 0), ("late.mp4", {}, 48)):
        path = write_clip(tmp_path / name, seconds=T, audio_start=1.5, **options)
        samples = sound_of(path).samples
        assert np.abs(samples[: int(1.45 * 48_000)]).max() == 0
        lag, correlation = lag_and_correlation(samples[72_000:], sound(2.5, 48_000))
        assert abs(lag) <= slack, "mp4 writes how late a stream is in milliseconds"
        assert correlation > 0.999
        assert numbers(frames_of(path)) == MIDDLES
    path = write_clip(tmp_path / "late pictures.mp4", seconds=T, video_start=1.5)
    result = frames_of(path)
    assert numbers(result) == [0, 0, 30, 60]
    assert result.first == pytest.approx(1.5)
    assert tones(path) == TONES


def test_a_clock_that_does_not_begin_at_zero(tmp_path):
    path = write_clip(tmp_path / "both.mkv", seconds=T, video_start=5, audio_start=5)
    assert numbers(frames_of(path)) == MIDDLES
    assert tones(path) == TONES


@pytest.mark.parametrize(
    ("rate", "layout"), [(8000, "mono"), (44_100, "stereo"), (48_000, "5.1"), (96_000, "stereo")]
)
def test_sound_of_any_rate_and_layout_is_averaged_exactly(tmp_path, rate, layout):
    """Lossless channels with different gains: their mean, not a surround mix, at no lag."""
    channels = av.AudioLayout(layout).nb_channels
    gains = np.linspace(0.2, 1.0, channels)[:, None]
    wave = sound(T, rate)
    path = write_clip(
        tmp_path / "clip.mkv", seconds=T, audio_codec="pcm_s16le", rate=rate, layout=layout,
        audio=(gains * wave).astype(np.float32),
    )  # fmt: skip
    heard = sound_of(path)
    samples, end = heard.samples, heard.end
    assert end == pytest.approx(T, abs=1e-3)
    expected = sound(T, 48_000) * gains.mean()
    lag, correlation = lag_and_correlation(samples, expected)
    assert lag == 0
    assert correlation > 0.999
    inner = slice(2000, 40_000)
    np.testing.assert_allclose(samples[inner] / 32767, expected[inner], atol=4e-3)


def test_a_window_of_sound_is_exact_to_the_sample(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 10 * 48_000)).astype(np.float32)
    path = write_clip(
        tmp_path / "noise.mkv",
        seconds=10,
        audio_codec="flac",
        rate=48_000,
        layout="mono",
        audio=noise,
    )
    for start in (0, 1, 5.25):
        samples = sound_of(path, start, 3).samples
        expected = noise[0, round(start * 48_000) :][: 3 * 48_000]
        assert np.abs(samples / 32767 - expected).max() < 1e-4


def test_short_sound_is_padded_with_silence(tmp_path):
    path = write_clip(tmp_path / "short.mp4", seconds=2.5)
    heard = sound_of(path)
    samples, end = heard.samples, heard.end
    assert end == pytest.approx(2.5, abs=0.03)
    assert len(samples) == T * 48_000
    assert not samples[int(2.6 * 48_000) :].any()


def test_the_last_frame_is_held(tmp_path):
    path = write_clip(tmp_path / "short.mp4", seconds=2.2)
    result = frames_of(path)
    assert numbers(result) == [15, 45, 65, 65]
    assert result.end == pytest.approx(2.2, abs=1e-3)


@pytest.mark.parametrize("fps", [8, 12, 25, 29.97, 30, 60])
@pytest.mark.parametrize("seconds", [3.4, 10])
def test_valor_takes_the_frames_that_ffmpeg_writes(tmp_path, fps, seconds):
    path = write_clip(tmp_path / "clip.mp4", seconds=seconds, fps=fps, audio_codec=None)
    raw = tmp_path / "frames.rgb"
    ffmpeg("-i", path, "-r", "8", "-pix_fmt", "rgb24", "-f", "rawvideo", raw)
    written = np.frombuffer(raw.read_bytes(), np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    wanted = np.round(np.linspace(0, len(written) - 1, 10)).astype(int)
    expected = [number_in(written[place]) for place in wanted]
    result = frames_of(path, segments=10, sampler=sampling.sample_valor)
    assert numbers(result) == expected


def test_clip_transform_is_torchvisions(tmp_path):
    import torchvision.transforms as functional
    from PIL import Image

    generator = np.random.default_rng(0)
    for height, width in ((240, 320), (321, 123), (64, 64), (224, 225), (100, 1000)):
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        reference = functional.Compose(
            [
                functional.Resize(224, functional.InterpolationMode.BICUBIC),
                functional.CenterCrop(224),
            ]
        )
        expected = np.asarray(reference(Image.fromarray(picture)))
        np.testing.assert_array_equal(transforms.clip(picture, 224), expected)


def test_valor_transform_is_torchs_without_antialias():
    import torch

    generator = np.random.default_rng(0)
    for height, width in ((240, 320), (321, 123), (64, 64), (720, 1280)):
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(tensor, (224, 224), mode="bilinear")
        expected = resized[0].permute(1, 2, 0).numpy()
        # half a grey level, and what torch loses by finding its places in float32
        assert np.abs(transforms.valor(picture, 224) - expected).max() < 0.53


def test_pictures_survive_the_transforms():
    for number in (0, 1, 1365, 4095):
        assert number_in(transforms.valor(picture_of(number, 640, 360), 224)) == number


# Files that are not what they seem


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{}'\n"
IMAGE_LIST = "<html><body>Video unavailable</body></html>"


@pytest.mark.parametrize("text", [PLAYLIST, CONCAT, IMAGE_LIST, "RIFF", "\0" * 5000, "#!AMR {}"])
def test_lists_and_texts_named_mp4_open_nothing(tmp_path, text):
    secret = write_clip(tmp_path / "secret.mp4", seconds=1)
    path = tmp_path / "list.mp4"
    path.write_text(text.replace("{}", secret.name))
    with pytest.raises(ItemError) as caught:
        probe.probe(path)
    assert caught.value.status == Status.NOT_MEDIA


def test_absent_and_empty_files(tmp_path):
    with pytest.raises(ItemError) as caught:
        probe.probe(tmp_path / "nowhere.mp4")
    assert caught.value.status == Status.MISSING
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ItemError) as caught:
        probe.probe(tmp_path / "empty.mp4")
    assert caught.value.status == Status.EMPTY_FILE


def test_files_cut_anywhere_give_what_they_have_or_an_item_error(tmp_path):
    path = write_clip(tmp_path / "whole.mkv", seconds=T)
    content = path.read_bytes()
    outcomes = []
    for share in (0.001, 0.01, 0.1, 0.3, 0.5, 0.8, 0.99):
        cut = tmp_path / f"cut{share}.mkv"
        cut.write_bytes(content[: int(len(content) * share)])
        try:
            result = frames_of(cut)
        except ItemError as error:
            outcomes.append(error.status)
            continue
        last = round(result.end * 30) - 1
        shown = [min(frame, last) for frame in MIDDLES]
        assert numbers(result) == shown
        sound_of(cut)
        outcomes.append("frames")
    assert outcomes[0] in {Status.NOT_MEDIA, Status.DECODE_ERROR}
    assert outcomes[-1] == "frames"


def test_cover_art_is_not_a_video(tmp_path):
    song = write_clip(tmp_path / "song.mp4", seconds=1, video_codec=None)
    still = tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", still)
    covered = tmp_path / "covered.mp4"
    ffmpeg("-i", song, "-i", still, "-map", "0", "-map", "1", "-c", "copy",
           "-disposition:v:0", "attached_pic", covered)  # fmt: skip
    assert probe.probe(covered).video is None


# Workers


HANG_SECONDS = "600.375"  # which no other process sleeps


def _act(item: str) -> str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        subprocess.run(["sleep", HANG_SECONDS], check=False)
    if item == "memory":
        return str(np.ones(1 << 30).sum())
    if item == "raise":
        raise ValueError("a library's own error")
    return f"{item} {os.getpid()}"


def outcomes_of(items, **options):
    options = {"workers": 2, "timeout_seconds": 20.0} | options
    found = dict(worker.run_isolated(_act, items, **options))
    assert sorted(found) == list(range(len(items)))
    return [found[place] for place in range(len(items))]


def test_a_crash_costs_one_item():
    items = ["a", "crash", "b", "raise", "exit", "c", "memory", "d"]
    results = outcomes_of(items, memory_bytes=1 << 30)
    statuses = [r.status if isinstance(r, ItemError) else r.split()[0] for r in results]
    assert statuses == [
        "a", Status.CRASHED, "b", Status.DECODE_ERROR,
        Status.CRASHED, "c", Status.DECODE_ERROR, "d",
    ]  # fmt: skip
    assert "SIGSEGV" in results[1].detail
    assert "1024 MB" in results[6].detail


def test_a_hang_costs_one_item_and_leaves_no_process():
    began = time.monotonic()
    results = outcomes_of(["hang", "a", "b"], workers=1, timeout_seconds=1.0)
    assert results[0].status == Status.TIMEOUT
    assert [result.split()[0] for result in results[1:]] == ["a", "b"]
    assert time.monotonic() - began < 120  # processes start slowly where a machine is busy
    hanging = b"sleep\0" + HANG_SECONDS.encode()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if hanging in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_workers_are_replaced_after_some_items():
    results = outcomes_of(["x"] * 6, workers=1, recycle_after=2)
    pids = [result.split()[1] for result in results]
    assert len(set(pids)) == 3


def test_no_items_start_no_worker():
    assert outcomes_of([]) == []
    with pytest.raises(PipelineError, match="workers must be 1 or more, not 0"):
        outcomes_of(["a"], workers=0)


class _CannotBeLoaded:
    def __call__(self, item: str) -> str:
        return item

    def __setstate__(self, state: object) -> None:
        raise ImportError("a library is not there")

    def __getstate__(self) -> dict[str, int]:
        return {"some": 1}


def test_workers_that_cannot_start_are_an_error_not_a_loop():
    sentence = "3 decode workers in a row failed to start .*exit code 1"
    with pytest.raises(PipelineError, match=sentence):
        list(worker.run_isolated(_CannotBeLoaded(), ["a"], 1, 5.0))


class _DiesOnLoading:
    """Kills the processes that load it, until so many have died."""

    def __init__(self, folder: Path, deaths: int) -> None:
        self.folder, self.deaths = folder, deaths

    def __call__(self, item: str) -> str:
        return item

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        if len(died := list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(len(died))).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_while_it_starts_is_started_again(tmp_path):
    deaths = worker.FAILED_STARTS - 1
    outcomes = worker.run_isolated(_DiesOnLoading(tmp_path, deaths), ["a", "b"], 1, 5.0)
    assert sorted(outcomes) == [(0, "a"), (1, "b")]
    assert len(list(tmp_path.iterdir())) == deaths


SCRIPT = """
import os.path, sys
sys.path[:0] = {path!r}
from pipeline.media.worker import run_isolated
print(list(run_isolated(os.path.basename, ["/a/b"], 1, 60.0)))
"""


@pytest.mark.parametrize("kind", ["script", "standard input", "notebook"])
def test_a_program_without_a_guarded_main_module_can_decode(tmp_path, kind):
    """As multiprocessing starts them, each worker would first run the program again."""
    program = tmp_path / "script.py"
    program.write_text(SCRIPT.format(path=sys.path))
    if kind == "notebook":
        program.write_text(
            f"import IPython; IPython.start_ipython(['-c', {program.read_text()!r}])"
        )
    words = ["-"] if kind == "standard input" else [program.name]
    with program.open() as source:
        done = subprocess.run(
            [sys.executable, *words], stdin=source, cwd=tmp_path, capture_output=True, text=True
        )
    assert done.stdout.strip() == "[(0, 'b')]", done.stderr


def _act_in_a_pool(item: str) -> str:
    return outcomes_of([item], workers=1)[0].split()[0]


def test_a_process_of_a_pool_can_decode():
    """It is a daemon, which multiprocessing lets start no process."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_act_in_a_pool, ["a"]) == "a"


# The real clip


def lag_and_correlation(samples, expected, reach: int = 2000) -> tuple[int, float]:
    """Return the lag of the best correlation within ``reach`` samples, and that correlation."""
    count = min(len(samples), len(expected))
    a, b = (np.asarray(x[:count], dtype=np.float64) for x in (samples, expected))
    size = 1 << (2 * count - 1).bit_length()
    cross = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size)
    lags = np.r_[np.arange(reach + 1), np.arange(-reach, 0)]
    best = int(lags[np.argmax(cross[lags])])
    return best, float(cross[best] / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("per_segment", [1, 4])
def test_the_real_clips_frames_are_pyavs_pixel_for_pixel(llp_clip, per_segment):
    with av.open(str(llp_clip)) as container:
        stream = container.streams.video[0]
        shown = [(f.pts * stream.time_base, f.to_ndarray(format="rgb24"))
                 for f in container.decode(stream)]  # fmt: skip
    times = sampling.center_times(10, per_segment)
    half_tick = 0.5 / 11_488
    expected = [[p for at, p in shown if float(at) <= time + half_tick][-1] for time in times]
    for decoder in ("decord", "pyav"):
        result = frames_of(llp_clip, segments=10, per_segment=per_segment, decoder=decoder)
        assert result.backend == decoder
        np.testing.assert_array_equal(result.pictures, np.stack(expected))


def test_the_real_clips_sound_agrees_with_an_independent_decode(llp_clip):
    with av.open(str(llp_clip)) as container:
        planes = [frame.to_ndarray() for frame in container.decode(audio=0)]
        first = container.streams.audio[0].start_time
    stereo = np.concatenate(planes, axis=1)
    count = stereo.shape[1] * 48_000 // 44_100
    places = np.arange(count) * 44_100 / 48_000
    expected = np.interp(places, np.arange(stereo.shape[1]), stereo.mean(axis=0))
    assert first == 0
    heard = sound_of(llp_clip, segments=10)
    samples, end = heard.samples, heard.end
    lag, correlation = lag_and_correlation(samples, expected)
    assert lag == 0
    assert correlation > 0.999
    assert end == pytest.approx(10, abs=0.01)
