"""Sound: averaging, slicing, damage, and the ffmpeg program's way to the same samples."""

import socket
import subprocess
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from clips import number_in, sound, write_clip
from decoded import T, frames_of, numbers, sound_of, tones

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.media import audio, probe
from pipeline.media.options import Decoding
from pipeline.media.segments import Decoded, decode_video
from pipeline.media.video_window import VideoWindow


def decode(path: Path, **changes) -> Decoded:
    row = VideoWindow("a_0_4", str(path), 0.0, float(T))
    return decode_video(row, Decoding(segments=T, frame_size=32, **changes))


EIGHT_BITS = {"pcm_u8", "wavpack"}  # as they are written here


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        ("pcm_u8", "u8"),
        ("pcm_s16le", "s16"),
        ("pcm_s24le", "s32"),
        ("pcm_f32le", "flt"),
        ("pcm_f64le", "dbl"),
        ("alac", "s32p"),
        ("wavpack", "s16p"),
    ],
)
def test_channels_are_averaged_alike_in_every_sample_format(tmp_path, layout, codec, kind):
    channels = av.AudioLayout(layout).nb_channels
    planes = np.random.default_rng(0).uniform(-0.9, 0.9, (channels, 48_000)).astype(np.float32)
    options = {"video_codec": None, "audio_codec": codec, "rate": 48_000, "layout": layout}
    path = write_clip(tmp_path / "clip.mkv", audio=planes, **options)
    with av.open(str(path)) as container:
        assert next(container.decode(audio=0)).format.name == kind
    heard = sound_of(path, segments=1).samples / audio.FULL_SCALE
    tolerance = 1e-2 if codec in EIGHT_BITS else 1e-4
    np.testing.assert_allclose(heard, planes.mean(axis=0), atol=tolerance)


@pytest.mark.parametrize(("codec", "kind"), [("aac", "fltp"), ("pcm_s16le", "s16")])
def test_eight_channels_are_eight(tmp_path, codec, kind):
    """PyAV finds a ninth plane after the eighth; ffmpeg's program says what is right."""
    path = tmp_path / "clip.mkv"
    tone = "sine=frequency=500:duration=1:sample_rate=48000"
    command = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", tone]
    command += ["-af", "pan=7.1|" + "|".join(f"c{n}={0.1 * (n + 1)}*c0" for n in range(8))]
    subprocess.run([*command, "-c:a", codec, "-strict", "-2", path], check=True)
    with av.open(str(path)) as container:
        assert next(container.decode(audio=0)).format.name == kind
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "7.1", 48_000)
        blocks = [b.to_ndarray() for f in container.decode(audio=0) for b in resampler.resample(f)]
    interleaved = np.concatenate(blocks, axis=1).reshape(-1, 8)
    expected = interleaved.mean(axis=1)[:48_000]
    lag = 0 if codec == "pcm_s16le" else 1024  # the run-in of AAC, before the clock's zero
    heard = sound_of(path, segments=1).samples[: 48_000 - lag]
    best = min(np.abs(heard[:40_000] - expected[shift:][:40_000]).max() for shift in (0, lag))
    assert best <= 40
    assert np.abs(heard).max() > 1000


ODD_NAMES = ("-i 'quoted' \"twice\"\n名.mkv", "pattern%03d [0-9] {a,b}.mkv", "file:name?.mkv")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_program_gives_the_same_samples_under_any_name(tmp_path, monkeypatch, name):
    path = write_clip(tmp_path / name, seconds=T, audio_codec="flac", audio_start=0.5)
    expected = sound_of(path)
    assert numbers(frames_of(path)) == [15, 45, 75, 105]
    monkeypatch.setattr(audio, "PLANE_TYPES", {})  # as if no sample format were known
    by_program = sound_of(path)
    assert np.abs(by_program.samples.astype(int) - expected.samples).max() <= 2
    assert by_program.end == pytest.approx(expected.end, abs=1e-3)


def test_a_transport_streams_clock_begins_with_the_encoders_run_in(tmp_path):
    path = write_clip(tmp_path / "clip.ts", seconds=T)
    # 1024 samples of 44.1 kHz come before the first frame, which no edit list hides
    assert numbers(frames_of(path)) == [14, 44, 74, 104]
    assert tones(path) == [300.0, 430.0, 560.0, 690.0]


@pytest.mark.parametrize(("sound_lasts", "pictures_last"), [(2.5, 4.0), (4.0, 2.5)])
def test_streams_of_unequal_length_stay_in_step(tmp_path, sound_lasts, pictures_last):
    wave = sound(sound_lasts, 44_100)[None]
    times = np.arange(round(pictures_last * 30)) / 30
    path = write_clip(tmp_path / "clip.mp4", times=times, audio=wave)
    expected = [min(number, len(times) - 1) for number in (15, 45, 75, 105)]
    assert numbers(frames_of(path)) == expected
    heard = sound_of(path)
    assert heard.end == pytest.approx(sound_lasts, abs=0.03)
    assert tones(path)[:2] == [300.0, 430.0]
    assert not heard.samples[round((sound_lasts + 0.05) * 48_000) :].any()
    outcome = decode(path, frame_transform="valor")
    assert outcome.row.status == Status.TOO_SHORT
    assert outcome.row.video_seconds == pytest.approx(pictures_last, abs=0.01)
    assert outcome.row.audio_seconds == pytest.approx(sound_lasts, abs=0.03)


# Damage


def sound_damaged(path: Path, every: int) -> Path:
    """Overwrite the content of every n-th sound packet, and leave the file whole otherwise."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets]
    for position, size in places[every // 2 :: every]:
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def test_damaged_packets_of_sound_are_counted_and_the_rest_stays_in_place(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", seconds=T)
    sound_damaged(path, every=40)
    heard = sound_of(path)
    assert heard.damaged > 0
    assert heard.end == pytest.approx(T, abs=0.05)
    assert tones(path) == [300.0, 430.0, 560.0, 690.0]
    outcome = decode(path)
    assert outcome.row.status == Status.OK
    assert f"damaged audio packets: {heard.damaged}" in outcome.row.detail
    assert "video packets" not in outcome.row.detail


def test_sound_of_which_no_packet_can_be_decoded_is_as_good_as_missing(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", seconds=T)
    sound_damaged(path, every=1)
    outcome = decode(path, frame_transform="valor")
    assert [number_in(picture) for picture in outcome.frames[:, 0]] == [15, 45, 75, 105]
    assert not outcome.audio.any()
    assert (outcome.row.status, outcome.row.audio_seconds) == (Status.DECODE_ERROR, 0.0)
    assert outcome.row.detail == "no audio packet can be decoded"
    with pytest.raises(ItemError, match="decode_error: no audio packet can be decoded"):
        decode(path, missing_audio="drop")
    with pytest.raises(
        PipelineError, match=r"'a_0_4' is decode_error \(no audio packet.*missing_audio is"
    ):
        decode(path, missing_audio="fail")


def test_sound_that_is_not_numbers_is_as_good_as_missing(tmp_path):
    wave = sound(T, 48_000)[None]
    wave[0, 1000] = np.nan
    options = {"audio_codec": "pcm_f32le", "rate": 48_000, "layout": "mono"}
    path = write_clip(tmp_path / "clip.mkv", seconds=T, audio=wave, **options)
    outcome = decode(path)
    assert (outcome.row.kept, outcome.row.status) == (True, Status.NOT_FINITE)
    assert not outcome.audio.any()


def test_samples_that_pyav_does_not_hand_out_are_had_by_the_program(tmp_path):
    options = {"video_codec": None, "rate": 48_000, "layout": "mono"}
    path = write_clip(tmp_path / "a.wav", seconds=T, audio_codec="pcm_s64le", **options)
    with av.open(str(path)) as container:
        assert next(container.decode(audio=0)).format.name == "s64"
    heard = sound_of(path)
    expected = sound(T, 48_000) * audio.FULL_SCALE
    assert np.abs(heard.samples - expected).max() <= 2
    assert heard.end == T


def test_blocks_that_the_decoder_mends_are_damage(tmp_path):
    """AC-3 has a checksum of each packet; what does not fit it is mended without an error."""
    path = write_clip(tmp_path / "clip.mkv", seconds=T, audio_codec="ac3", video_codec=None)
    assert sound_of(path).damaged == 0
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = list(container.demux(audio=0))[20]
    content[packet.pos + packet.size // 3 : packet.pos + packet.size - 8] = b"\x5a" * (
        packet.size - 8 - packet.size // 3
    )
    path.write_bytes(content)
    assert sound_of(path).damaged >= 1


# Slicing


def test_valor_slices_are_those_of_its_script():
    """Against VALOR's boundaries, ``round(linspace(0, L, 11))`` and ``L // 10`` samples each."""
    for length in (479_980, 240_007, 33, 480_375):
        samples = np.arange(length, dtype=np.int64).astype(np.int16)
        seen = samples[:480_000]
        bounds = np.round(np.linspace(0, len(seen), 11)).astype(int)
        sliced = audio.valor_slices(samples, 10).reshape(10, 48_000)
        step = len(seen) // 10
        for row, begin in zip(sliced, bounds[:-1], strict=True):
            np.testing.assert_array_equal(row[:step], seen[begin : begin + step])
            np.testing.assert_array_equal(row[step : 2 * step], row[: len(row[step : 2 * step])])


def test_both_slicings_are_one_where_the_sound_fills_its_window(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", seconds=T, audio_codec="flac", rate=48_000)
    exact, valor = (sound_of(whole, slicing=slicing).samples for slicing in ("exact", "valor"))
    np.testing.assert_array_equal(exact, valor)
    half = write_clip(tmp_path / "half.mkv", seconds=T / 2, audio_codec="flac", rate=48_000)
    spectra = np.abs(np.fft.rfft(sound_of(half, slicing="valor").samples.reshape(T, -1)))
    assert spectra.argmax(axis=1).tolist() == [300.0, 300.0, 430.0, 430.0]
    stretched = decode(half, audio_slicing="valor")
    assert stretched.audio.any(axis=None)
    assert not decode(half).audio[T * 24_000 + 1000 :].any()
    assert stretched.row == decode(half).row


def test_sound_shorter_than_its_segments_is_not_stretched():
    few = np.array([7, 8, 9], dtype=np.int16)
    np.testing.assert_array_equal(audio.valor_slices(few, T), audio.exact_slices(few, T))
    assert not audio.valor_slices(few[:0], T).any()


# Lists that name addresses


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:4,\n{}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}/a.mp4'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n# {}",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{}</BaseURL></Period></MPD>",
        "[Reference]\nRef1={}/a.asf\n",
    ],
)
@pytest.mark.parametrize("extension", ["mp4", "m3u8", "txt"])
def test_a_list_that_names_an_address_reaches_for_nothing(tmp_path, text, extension):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        reached = []

        def accept() -> None:
            try:
                reached.append(server.accept())
            except TimeoutError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        path = tmp_path / f"list.{extension}"
        path.write_text(text.replace("{}", f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(ItemError) as caught:
            probe.probe(path)
        thread.join()
    assert caught.value.status == Status.NOT_MEDIA
    assert not reached
