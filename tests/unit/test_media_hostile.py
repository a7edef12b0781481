"""Files that lie, are cut, or say nothing: what the decode stage makes of each."""

import os
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from clips import number_in, write_clip
from mutations import atoms_of

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.media import frames
from pipeline.media.options import Decoding
from pipeline.media.probe import open_media
from pipeline.media.segments import Decoded, decode_video
from pipeline.media.video_window import VideoWindow

T = 3
DECODING = Decoding(segments=T, frame_size=96, frame_transform="valor", missing_video="pad")
MIDDLES = [15, 45, 75]


def decode(path: Path) -> Decoded | ItemError:
    try:
        return decode_video(VideoWindow("a_0_3", str(path), 0.0, float(T)), DECODING)
    except ItemError as error:
        return error


def copied(path: Path, name: str, *options: str) -> Path:
    target = path.with_name(name)
    command = [ffmpeg_path(), "-v", "error", "-i", path, "-c", "copy", *options, target]
    subprocess.run(command, check=True)
    return target


def zeroed(path: Path, fields: dict[bytes, slice]) -> Path:
    """Fill a part of every atom of some names with zeros, in place."""
    content = bytearray(path.read_bytes())
    for start, stop, name in list(atoms_of(content)):
        if name in fields:
            for place in range(stop - start)[fields[name]]:
                content[start + place] = 0
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("flags", ["+faststart", "frag_keyframe+empty_moov"])
def test_mp4_cut_at_many_points_gives_what_it_has(tmp_path, flags):
    options = {"preset": "ultrafast", "g": "10"}
    whole = write_clip(tmp_path / "whole.mp4", seconds=T, video_options=options)
    streamable = copied(whole, "streamable.mp4", "-movflags", flags)
    content = streamable.read_bytes()
    # Fragments have no edit list: the encoder's run-in is the sound's first 23 ms there.
    shown = [number_in(picture) for picture in decode(streamable).frames[:, 0]]
    assert shown in (MIDDLES, [n - 1 for n in MIDDLES])
    seconds = []
    for size in np.linspace(1, len(content), 25).astype(int):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(content[:size])
        outcome = decode(cut)
        if isinstance(outcome, ItemError):
            assert outcome.status in {Status.NOT_MEDIA, Status.DECODE_ERROR}
            assert not seconds, "more bytes gave less"
            continue
        if outcome.row.backend:
            numbers = [number_in(picture) for picture in outcome.frames[:, 0]]
            # a frame that is not there is shown as the one before it, never as a later one
            assert all(n <= middle for n, middle in zip(numbers, shown, strict=True))
            assert numbers == sorted(numbers)
        seconds.append(outcome.row.video_seconds)
    assert len(seconds) > 10
    assert outcome.row.status == Status.OK
    assert numbers == shown


def test_an_8k_header_with_no_data_is_one_row(tmp_path):
    path = write_clip(
        tmp_path / "8k.mp4", times=[0.0], size=(7680, 4320), video_codec="mpeg4",
        video_options={}, clock=30, audio_codec=None,
    )  # fmt: skip
    outcome = decode(zeroed(path, {b"mdat": slice(8, None)}))
    assert isinstance(outcome, ItemError)
    assert outcome.status == Status.DECODE_ERROR


def test_durations_of_zero_are_not_believed(tmp_path):
    path = write_clip(tmp_path / "zero.mp4", seconds=T)
    fields = {b"mvhd": slice(24, 28), b"tkhd": slice(28, 32), b"mdhd": slice(24, 28)}
    outcome = decode(zeroed(path, fields))
    assert isinstance(outcome, Decoded)
    assert [number_in(picture) for picture in outcome.frames[:, 0]] == MIDDLES


def test_a_file_with_streams_and_no_samples_is_one_row(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", seconds=1)
    outcome = decode(copied(whole, "nothing.mp4", "-t", "0"))
    assert isinstance(outcome, ItemError)
    assert outcome.status == Status.TOO_SHORT
    assert "neither video nor audio from 0 to" in outcome.detail


def test_damage_in_the_middle_is_told(tmp_path):
    path = write_clip(tmp_path / "damaged.mp4", seconds=T, audio_codec=None)
    content = bytearray(path.read_bytes())
    start, stop = next((a, b) for a, b, name in atoms_of(content) if name == b"mdat")
    middle = (start + stop) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    outcome = decode(path)
    assert isinstance(outcome, Decoded)
    assert "damaged video packets: " in outcome.row.detail


NOISY = {"preset": "veryfast", "g": "50", "crf": "30"}
HEVC = {
    "video_codec": "libx265",
    "video_options": {"preset": "veryfast", "x265-params": "keyint=50:log-level=none:pools=1"},
}


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Return where each picture's packet lies in the file, and its size, as they are shown."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [(packet.pos, packet.size) for packet in sorted(packets, key=lambda p: p.pts)]


def flipped(content: bytes, packets: list[tuple[int, int]], random: np.random.Generator) -> bytes:
    """Change two bytes of the packets, where they are likelier the longer a packet is."""
    changed = bytearray(content)
    sizes = np.array([size for _, size in packets])
    for place in random.choice(len(packets), 2, p=sizes / sizes.sum()):
        position, size = packets[place]
        changed[position + random.integers(size // 4, size)] ^= random.integers(1, 256)
    return bytes(changed)


def test_pictures_that_the_decoder_mends_are_damage(tmp_path):
    """Two wrong bytes raise no error in H.264, but make other frames than were shown."""
    random = np.random.default_rng(0)
    whole = write_clip(
        tmp_path / "whole.mp4", seconds=T, audio_codec=None, grain=random, video_options=NOISY
    )
    clean, content, packets = decode(whole), whole.read_bytes(), packets_of(whole)
    assert clean.row.detail == "the file has no audio stream"
    told = []
    for number in range(45):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(flipped(content, packets, random))
        outcome = decode(path)
        assert isinstance(outcome, Decoded)
        difference = np.abs(outcome.frames.astype(int) - clean.frames).mean(axis=(1, 2, 3, 4))
        if difference.max() > 5:
            told.append("damaged video packets: " in outcome.row.detail)
    assert len(told) > 10
    assert np.mean(told) > 0.8, "what happens to be a valid code says nothing"


def test_damage_that_hevc_passes_over_is_told_and_costs_no_frame(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(frames, "open_media", lambda path: opened.append(path) or open_media(path))
    random = np.random.default_rng(1)
    path = write_clip(tmp_path / "a.mp4", seconds=T, audio_codec=None, grain=random, **HEVC)
    clean = decode(path)
    assert "damaged" not in clean.row.detail
    assert not opened, "what is whole is decoded once"
    content = bytearray(path.read_bytes())
    position, size = packets_of(path)[MIDDLES[1]]
    content[position + size // 2 : position + size] = b"\xff" * (size - size // 2)
    path.write_bytes(content)
    outcome = decode(path)
    assert "damaged video packets: 1" in outcome.row.detail
    assert len(opened) == 1
    differs = (outcome.frames != clean.frames).any(axis=(1, 2, 3, 4))
    assert differs.tolist() == [False, True, False]
    assert number_in(outcome.frames[0, 0]) == MIDDLES[0]


def test_hevc_of_which_a_strict_decoder_gives_nothing_is_had(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", seconds=T, audio_codec=None, **HEVC)
    read, asked = frames._read, []

    def strict(*arguments):
        asked.append(arguments[-1].stream.codec_context.options)
        if len(asked) == 1:
            raise ItemError(Status.DECODE_ERROR, "no frame of the window can be decoded")
        return read(*arguments)

    monkeypatch.setattr(frames, "_read", strict)
    outcome = decode(path)
    assert [number_in(picture) for picture in outcome.frames[:, 0]] == MIDDLES
    assert "damaged video packets: 1" in outcome.row.detail
    assert asked == [{"err_detect": "explode"}, {}]


def test_pictures_that_cannot_be_decoded_are_as_good_as_missing(tmp_path):
    path = write_clip(tmp_path / "a.mp4", seconds=T)
    content = bytearray(path.read_bytes())
    for position, size in packets_of(path):
        content[position : position + size] = b"\xff" * size
    path.write_bytes(content)
    outcome = decode(path)
    assert not outcome.frames.any()
    assert outcome.audio.reshape(T, -1).any(axis=1).all()
    assert (outcome.row.kept, outcome.row.status) == (True, Status.DECODE_ERROR)
    assert (outcome.row.video_seconds, outcome.row.audio_seconds) == (0.0, T)
    row = VideoWindow("a_0_3", str(path), 0.0, float(T))
    with pytest.raises(ItemError, match="decode_error: no frame of the window can be decoded"):
        decode_video(row, DECODING.model_copy(update={"missing_video": "drop"}))
    with pytest.raises(PipelineError, match=r"'a_0_3' is decode_error .*missing_video is 'fail'"):
        decode_video(row, DECODING.model_copy(update={"missing_video": "fail"}))


def test_av1_is_served(tmp_path):
    options = {"preset": "12", "svtav1-params": "lp=1"}
    priority = os.sched_getscheduler(0)
    path = write_clip(tmp_path / "a.mp4", seconds=T, video_codec="libsvtav1", video_options=options)
    assert os.sched_getscheduler(0) == priority, "the encoder's real-time priority stays"
    for decoder in ("pyav", "decord"):
        row = VideoWindow("a_0_3", str(path), 0.0, float(T))
        result = decode_video(row, Decoding(segments=T, frame_transform="valor", decoder=decoder))
        assert [number_in(picture) for picture in result.frames[:, 0]] == MIDDLES
        assert result.row.backend == "pyav"


def test_a_link_that_leaves_the_folder_is_followed_to_its_file_only(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_clip(tmp_path / "elsewhere" / "real.mp4", seconds=T)
    link = tmp_path / "link.mp4"
    link.symlink_to("elsewhere/real.mp4")
    outcome = decode(link)
    assert isinstance(outcome, Decoded)
    link.unlink()
    link.symlink_to("elsewhere/nowhere.mp4")
    outcome = decode(link)
    assert isinstance(outcome, ItemError)
    assert outcome.status == Status.MISSING
