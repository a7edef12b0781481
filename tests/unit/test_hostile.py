"""Files that lie, are cut, or say nothing: what the decode stage makes of each."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import number_in, write_clip
from mutations import atoms_of

from pipeline.errors import ItemError, Status
from pipeline.manifest import Row
from pipeline.media import audio
from pipeline.segments import Decoded, Decoding, decode_video

T = 3
DECODING = Decoding(segments=T, frame_size=96, frame_transform="valor", missing_video="pad")
MIDDLES = [15, 45, 75]


def decode(path: Path) -> Decoded | ItemError:
    try:
        return decode_video(Row("a_0_3", "train", 1, str(path), 0.0, float(T)), DECODING)
    except ItemError as error:
        return error


def copied(path: Path, name: str, *options: str) -> Path:
    target = path.with_name(name)
    command = [audio.executable(), "-v", "error", "-i", path, "-c", "copy", *options, target]
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
    assert "neither pictures nor sound from 0 s on" in outcome.detail


def test_damage_in_the_middle_is_told(tmp_path):
    path = write_clip(tmp_path / "damaged.mp4", seconds=T, audio_codec=None)
    content = bytearray(path.read_bytes())
    start, stop = next((a, b) for a, b, name in atoms_of(content) if name == b"mdat")
    middle = (start + stop) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    outcome = decode(path)
    assert isinstance(outcome, Decoded)
    assert "damaged packets of pictures: " in outcome.row.detail


def test_av1_is_served(tmp_path):
    options = {"preset": "12", "svtav1-params": "lp=1"}
    priority = os.sched_getscheduler(0)
    path = write_clip(tmp_path / "a.mp4", seconds=T, video_codec="libsvtav1", video_options=options)
    assert os.sched_getscheduler(0) == priority, "the encoder's real-time priority stays"
    for decoder in ("pyav", "decord"):
        row = Row("a_0_3", "train", 1, str(path), 0.0, float(T))
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
