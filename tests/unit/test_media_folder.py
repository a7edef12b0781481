"""Which files of a folder are taken, by datasets and by `parse` alike, and why others are not."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import number_in, sound, write_clip

from pipeline.cli import main
from pipeline.core.errors import ItemError, PipelineError
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.shards import StatusRow, read_status
from pipeline.data.manifest import list_videos
from pipeline.inference.input_files import find_files
from pipeline.media.folder import (
    BROKEN_LINK,
    EXTENSIONS,
    LINK,
    NO_MEDIA,
    NOT_A_FILE,
    SUBFOLDER,
    read_folder,
)
from pipeline.media.options import Decoding
from pipeline.media.probe import probe
from pipeline.media.segments import decode_video
from pipeline.media.video_window import VideoWindow

T = 2


def tables_of(folder: Path, *names: str) -> Path:
    """Write tables with the names, one in each split."""
    folder.mkdir()
    for table, name in zip(("AVVP_train", "AVVP_val_pd", "AVVP_test_pd"), names, strict=True):
        (folder / f"{table}.csv").write_text(f"filename\tevent_labels\n{name}\tDog\n")
    return folder


def segments(tables: Path, videos: Path, *more: str) -> dict[str, StatusRow]:
    """Decode a dataset's only shard; return its status rows."""
    out = tables.parent / "out"
    words = ["segments", "--annotations", str(tables), "--videos", str(videos), "--shard", "1-of-1"]
    words += ["--segments", str(T), "--frame-size", "32", *more]
    assert main([*words, "--out", f"{out}.safetensors", "--status", f"{out}.tsv"]) == 0
    return {row.filename: row for row in read_status(Path(f"{out}.tsv"))}


def test_every_entry_is_taken_or_has_its_reason(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside.mp4"
    (folder / "sub").mkdir(parents=True)
    outside.touch()
    for name in ("b.MTS", "a.aiff", "notes.txt", "mp4"):
        (folder / name).touch()
    os.mkfifo(folder / "pipe.mp4")
    links = {"link.mp4": outside, "inside.mp4": folder / "b.MTS", "gone.mp4": folder / "none"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = read_folder(folder)
    assert found.files == ("a.aiff", "b.MTS", "inside.mp4")
    assert found.passed_over == {
        "gone.mp4": BROKEN_LINK,
        "link.mp4": LINK,
        "mp4": NO_MEDIA,
        "notes.txt": NO_MEDIA,
        "pipe.mp4": NOT_A_FILE,
        "sub": SUBFOLDER,
    }
    assert list(found.summary())[2] == "passed over: 2 such as 'mp4' (not named like a media file)"
    followed = read_folder(folder, follow_links=True)
    assert set(followed.files) - set(found.files) == {"link.mp4"}


def test_parse_and_datasets_take_the_same_files(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number, extension in enumerate(EXTENSIONS):
        (videos / f"{number:03}_0_2.{extension}").touch()
    (videos / "x_0_2.txt").touch()
    names = [f"{number:03}_0_2" for number in range(len(EXTENSIONS))]
    tables = tables_of(tmp_path / "tables", "\tDog\n".join(names), "x_0_2", "y_0_2")
    rows = list_videos(tables, videos, 1)
    taken = {Path(row.path).name for row in rows if row.path}
    assert taken == {path.name for path in find_files([videos]).named.values()}
    assert len(taken) == len(EXTENSIONS)
    notes = {row.filename: row.note for row in rows if row.note}
    assert notes == {
        "x_0_2": "no file is named after the video or its id; 'x_0_2.txt' is not named like a media"
        " file",
        "y_0_2": "no file is named after the video or its id",
    }


def test_the_docs_list_the_same_extensions(repository):
    page = (repository / "docs/reference/file-formats.md").read_text()
    section = page.partition("## Media files")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?:pictures|sound).*\| ([a-z0-9 ]+) \|$", section, re.MULTILINE)
    assert tuple(" ".join(rows).split()) == EXTENSIONS


def test_pictures_go_before_sound_of_the_same_name(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for extension in ("wav", "mka", "3gp"):
        (videos / f"a_0_2.{extension}").touch()
    tables = tables_of(tmp_path / "tables", "a_0_2", "b_0_2", "c_0_2")
    assert Path(list_videos(tables, videos, 1)[0].path).name == "a_0_2.3gp"


def test_sound_in_a_dataset_is_a_video_without_pictures(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos / "song_0_2.wav", seconds=T, video_codec=None, audio_codec="pcm_s16le")
    tables = tables_of(tmp_path / "tables", "song_0_2", "b_0_2", "c_0_2")
    row = segments(tables, videos)["song_0_2"]
    assert (row.kept, row.status) == (False, "no_video_stream")
    row = segments(tables, videos, "--missing-video", "pad")["song_0_2"]
    assert (row.kept, row.status, row.audio_seconds) == (True, "no_video_stream", T)


def test_links_of_a_dataset_are_named_and_an_option_takes_them(tmp_path, capsys):
    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    store.mkdir()
    write_clip(store / "x.mp4", seconds=T, fps=5)
    for name in ("a_0_2", "b"):
        (videos / f"{name}.mp4").symlink_to(store / "x.mp4")
    tables = tables_of(tmp_path / "tables", "a_0_2", "b_0_2", "c_0_2")
    rows = segments(tables, videos)
    details = {name: row.detail for name, row in rows.items()}
    assert [row.status for row in rows.values()] == ["missing"] * 3
    assert details["a_0_2"].endswith("; 'a_0_2.mp4' is " + LINK)
    assert details["b_0_2"].endswith("; 'b.mp4' is " + LINK)
    assert details["c_0_2"] == "no file is named after the video or its id"
    rows = segments(tables, videos, "--follow-links")
    assert [row.status for row in rows.values()] == ["ok", "ok", "missing"]
    words = ["manifest", "--annotations", str(tables), "--videos", str(videos), "--shards", "1"]
    assert main([*words, "--out", str(tmp_path / "manifest.tsv")]) == 0
    assert "2 such as 'a_0_2.mp4' (a link to a file outside" in capsys.readouterr().err
    assert "follow_links" in (tmp_path / "manifest.tsv").read_text()
    with pytest.raises(PipelineError, match=r"no media files \(passed over: 2 .*--follow-links"):
        find_files([videos])
    assert len(find_files([videos], follow_links=True).named) == 2


# Formats of cameras, phones, studios and Macs: how the ffmpeg program writes each.
FORMATS = {
    "camera.m2ts": "-c:v libx264 -c:a ac3 -mpegts_m2ts_mode 1 -f mpegts",
    "dvd.vob": "-c:v mpeg2video -c:a mp2 -f vob",
    "broadcast.mxf": "-c:v mpeg2video -c:a pcm_s16le -ar 48000",
    "tv.wtv": "-c:v mpeg2video -c:a mp2",
    "real.rm": "-c:v rv20 -c:a ac3",
    "moving.gif": "-an -r 25",
    "raw.y4m": "-an",
    "mac.aiff": "-vn -c:a pcm_s16be",
    "mac.caf": "-vn -c:a pcm_s16le",
    "sound.au": "-vn -c:a pcm_s16be",
    "long.w64": "-vn -c:a pcm_s16le",
    "cinema.ac3": "-vn -c:a ac3",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.mov"
    codecs = {"video_codec": "mjpeg", "video_options": {}, "pixel_format": "yuvj420p"}
    sounds = {"audio_codec": "pcm_s16le", "rate": 48_000, "layout": "mono"}
    return write_clip(path, seconds=T, fps=25, **codecs, **sounds)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_decode_to_what_they_hold(tmp_path, source, name):
    path = tmp_path / name
    words = [ffmpeg_path(), "-v", "error", "-i", source, *FORMATS[name].split(), str(path)]
    subprocess.run(words, check=True)
    options = Decoding(segments=T, frame_size=96, frame_transform="valor", missing_video="pad")
    decoded = decode_video(VideoWindow("a_0_2", str(path), 0.0, float(T)), options)
    if "-vn" not in FORMATS[name]:
        shown = [number_in(picture) for picture in decoded.frames[:, 0]]
        assert np.abs(np.array(shown) - [12, 37]).max() <= 1, "the run-in of a codec at most"
    if "-an" not in FORMATS[name]:
        expected = sound(T, 48_000) * 2**15
        samples = decoded.audio[24_000:72_000].astype(float)
        lags = np.abs(np.correlate(samples, expected[20_000:76_000], "valid"))
        energy = np.sum(expected[24_000:72_000] ** 2)
        assert lags.max() > 0.9 * energy


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{}</BaseURL></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=control:{}\n",
        "; a text about {0} that is not media\n; and more\n",
    ],
)
def test_no_list_reads_another_file(tmp_path, content):
    other = write_clip(tmp_path / "other.mp4", seconds=1, fps=5)
    for extension in EXTENSIONS:
        path = tmp_path / f"list.{extension}"
        path.write_text(content.format(other))
        with pytest.raises(ItemError, match="not_media"):
            probe(path)
