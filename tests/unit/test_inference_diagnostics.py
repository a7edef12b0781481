"""Files that parse makes the best of: short streams, lost windows, odd clocks and names."""

import csv
import itertools
import json
import os
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip
from small_encoders import IMAGE_SIZE

from pipeline.core.errors import ItemError, PipelineError, Status
from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.vocabulary import EventClass
from pipeline.features.encoders.identity import encoder_notice
from pipeline.inference import outputs, videos
from pipeline.inference.events import DecisionThresholds
from pipeline.inference.input_files import find_files
from pipeline.inference.parser import Parser
from pipeline.inference.playback import make_playable
from pipeline.inference.settings import InferenceSettings
from pipeline.inference.stage import parse_files
from pipeline.parsers.decision import Probabilities

T = 4
RANDOM = {"model": "none", "weights": "random:1"}
DOG = EventClass(
    name="Dog", visual_caption="a", audio_caption="b", visual_threshold=0, audio_threshold=0
)
SETUP = InferenceSettings.model_validate(
    {
        "segments": T,
        "untrimmed": False,
        "decode": {"frame_size": IMAGE_SIZE},
        "encoders": {"clip": RANDOM, "clap": RANDOM},
        "classes": [DOG],
    }
)


class Constant:
    """Says the same of every second of a window, or more of each window than of the one before."""

    class_names = ("Dog",)
    thresholds = DecisionThresholds(0.5, 0.5, 0.5)
    uses_context = True

    def __init__(self, first: float = 0.8, step: float = 0.0) -> None:
        self.first, self.step = first, step
        self.provenance: dict[str, str] = {}

    def predict(self, windows) -> Probabilities:
        values = self.first + self.step * np.arange(len(windows), dtype=np.float32)[:, None, None]
        segments, gates = (np.broadcast_to(values, (len(windows), n, 1)) for n in (T, 2))
        return Probabilities(segments, segments, gates)


class Encoder:
    """Takes a window's arrays for granted; ``fails`` says at which window it does what else."""

    class spec:
        storage = "float32"

    def __init__(self, source: str, fails=None) -> None:
        self.source, self.fails, self.seen = source, fails or {}, itertools.count()

    def embed(self, segments) -> dict[str, np.ndarray]:
        value = self.fails.get(next(self.seen), 0.0)
        if isinstance(value, Exception):
            raise value
        return {"embedding": np.full((1, T, 1), value, np.float32)}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """No decode process starts, which takes seconds, and no encoder has a fingerprint."""

    def run(function, items, workers, timeout_seconds):
        for place, item in enumerate(items):
            try:
                yield place, function(item)
            except ItemError as error:
                yield place, error

    monkeypatch.setattr(videos, "run_isolated", run)
    monkeypatch.setattr(InferenceSettings, "feature_fingerprints", lambda self: {})


def parse(
    out: Path, *paths: Path, predictor=None, fails=None, overlap: int = 2, redo=True, **options
):
    encoders = {"clip": Encoder("frames", fails), "clap": Encoder("audio")}
    parser = Parser(predictor or Constant(), SETUP, encoders)
    return parse_files(find_files(paths), parser, out, overlap=overlap, redo=redo, **options)


def of_dog(parsed) -> list[list[float]]:
    """The probabilities of the one class, heard and seen, as the decimals that are written."""
    both = parsed.probabilities.values()
    return [probabilities[:, 0].astype(float).round(4).tolist() for probabilities in both]


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "status.tsv").open(encoding="utf-8", newline="") as file:
        return {row["filename"]: row for row in csv.DictReader(file, delimiter="\t")}


def spoil(path: Path, kind: str) -> Path:
    """Make noise of all of a stream's packets."""
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    with av.open(str(path)) as container:
        for packet in container.demux(**{kind: 0}):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = random.bytes(packet.size)
    path.write_bytes(content)
    return path


# ---- encoders


def test_what_rests_on_random_weights_says_so_on_every_page(tmp_path):
    clips = [write_clip(tmp_path / f"{name}.mp4", seconds=4, fps=5) for name in "ab"]
    out = tmp_path / "out"
    parse(out, *clips)
    notice = encoder_notice(SETUP.identities)
    assert notice.startswith("CLIP and CLAP have random weights")
    record = json.loads((out / "a" / "parsed.json").read_text("utf-8"))
    assert (record["notice"], record["notes"]) == (notice, [])
    for name in ("clip", "clap"):
        assert record["provenance"][name].endswith(" none, weights random:1")
    for page in (out / "index.html", out / "a" / "index.html"):
        assert f'<p class="notice">{notice}</p>' in page.read_text("utf-8")


# ---- windows and streams


def test_overlapping_windows_that_differ_are_averaged(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=7, fps=5)
    (parsed,) = parse(tmp_path / "out", clip, predictor=Constant(0.2, 0.2))
    # Of 0.2 from 0 s on, 0.4 from 2 s and 0.6 from 3 s.
    expected = [0.2, 0.2, 0.3, (0.2 + 0.4 + 0.6) / 3, 0.5, 0.5, 0.6]
    for values in (*parsed.probabilities.values(), *parsed.gates.values()):
        assert values[:, 0] == pytest.approx(expected, abs=1.1e-4)
    assert rows(tmp_path / "out")["clip"]["status"] == "ok"
    assert parsed.notes == ()


@pytest.mark.parametrize("overlap", [0, 2, 3])
def test_a_stream_that_is_over_is_neither_heard_nor_seen(tmp_path, overlap):
    times = np.arange(25) / 5
    clip = write_clip(tmp_path / "clip.mp4", seconds=13, times=times, fps=5)
    late = write_clip(tmp_path / "late.mp4", seconds=9, video_start=3.3, fps=5)
    of_clip, of_late = parse(tmp_path / "out", clip, late, overlap=overlap)
    assert of_dog(of_clip) == [[0.8] * 13, [0.8] * 5 + [0] * 8]
    assert of_dog(of_late) == [[0.8] * 9 + [0] * 3, [0] * 3 + [0.8] * 9]
    row = rows(tmp_path / "out")["clip"]
    assert (row["kept"], row["status"]) == ("yes", "too_short")
    assert (float(row["video_seconds"]), float(row["audio_seconds"])) == (5, 13)
    assert "has pictures from 0.0 to 5.0 s; nothing is seen outside." in row["detail"]
    assert "has sound from 0.0 to 9.0 s" in rows(tmp_path / "out")["late"]["detail"]


def test_a_window_that_is_left_out_says_nothing_and_is_told(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=10, fps=5)
    (parsed,) = parse(tmp_path / "out", clip, fails={1: np.nan})  # from 2 to 6
    assert of_dog(parsed) == [[0.8] * 10] * 2
    note = "Left out: 1 of 4 windows, the one from 2 s (clip gave features that are not finite)."
    assert parsed.notes == (note,)
    row = rows(tmp_path / "out")["clip"]
    assert (row["kept"], row["status"], row["detail"]) == ("yes", "not_finite", note)
    assert float(row["video_seconds"]) == 10
    assert note in (tmp_path / "out/clip/index.html").read_text()

    (parsed,) = parse(tmp_path / "out", clip, fails={0: np.nan, 1: np.nan, 2: np.nan})
    assert of_dog(parsed)[1] == [0] * 6 + [0.8] * 4
    assert "3 of 4 windows, such as the one from 0 s" in parsed.notes[0]
    assert parsed.notes[0].endswith("; 6 of 10 s are not parsed.")
    assert float(rows(tmp_path / "out")["clip"]["audio_seconds"]) == 4


def test_damaged_packets_are_told_and_change_no_status(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T, fps=5)
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packet = list(container.demux(audio=0))[80]
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    clip.write_bytes(content)
    parse(tmp_path / "out", clip)
    row = rows(tmp_path / "out")["clip"]
    assert row["status"] == "ok"
    assert row["detail"].startswith(
        "Faulty: 1 of 1 windows, the one from 0 s (damaged audio packets"
    )


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_stream_that_cannot_be_decoded_costs_the_other_nothing(tmp_path, kind):
    clip = spoil(write_clip(tmp_path / "clip.mp4", seconds=6, fps=5), kind)
    (parsed,) = parse(tmp_path / "out", clip)
    expected = [[0.8] * 6, [0] * 6]
    order = 1 if kind == "video" else -1
    assert of_dog(parsed) == expected[::order]
    row = rows(tmp_path / "out")["clip"]
    assert (row["kept"], row["status"]) == ("yes", "decode_error")
    assert "Faulty: 2 of 2 windows" in row["detail"]
    what = "pictures that can be decoded, so nothing is seen"
    assert (what if kind == "video" else "sound that can be decoded") in row["detail"]
    page = (tmp_path / "out/clip/index.html").read_text()
    assert ("<audio" in page) == (kind == "video")
    assert 'id="content"' in page, "it plays what there is"


def test_a_codec_that_nobody_knows_is_not_called_no_pictures(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T, fps=5)
    content = clip.read_bytes()
    place = content.rfind(b"avc1")
    clip.write_bytes(content[:place] + b"zzzz" + content[place + 4 :])
    (parsed,) = parse(tmp_path / "out", clip)
    note = "The file has no pictures that can be decoded, so nothing is seen."
    assert parsed.notes == (note,)
    assert rows(tmp_path / "out")["clip"]["status"] == "no_video_stream"


# ---- clocks and lengths


def test_a_copy_counts_from_the_first_picture_or_sound(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T, fps=5, video_start=1.4, audio_start=1.4)
    # A stream that is not parsed begins before those that are, and the container with it.
    early = tmp_path / "early.mp4"
    words = ["-i", clip, "-f", "lavfi", "-i", "sine=d=2", "-map", "0:0", "-map", "0:1"]
    words += ["-map", "1:0", "-c", "copy", "-c:a:1", "aac", "-copyts", early]
    subprocess.run([ffmpeg_path(), "-v", "error", *words], check=True)
    for path in (clip, early):
        facts = videos.inspect(path)
        assert facts.origin == pytest.approx(1.38, abs=0.03)
        playback = make_playable(path, facts, tmp_path / path.stem, 0)
        copy = videos.inspect(playback.path)
        assert copy.origin == 0
        for ours, theirs in zip(copy.streams.values(), facts.streams.values(), strict=True):
            assert (ours.begin, ours.end) == pytest.approx((theirs.begin, theirs.end), abs=0.03)


def test_three_minutes(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=180, fps=2, rate=16_000, layout="mono")
    (parsed,) = parse(tmp_path / "out", clip, overlap=0)
    assert parsed.length == 180
    assert of_dog(parsed) == [[0.8] * 180] * 2
    assert [(event.onset, event.offset) for event in parsed.events] == [(0, 180)]
    assert "00:00:00.000 --> 00:03:00.000" in (tmp_path / "out/clip/events.vtt").read_text()


def test_a_real_clip_has_both_streams_to_its_end(tmp_path, llp_clip):
    (parsed,) = parse(tmp_path / "out", llp_clip)
    assert of_dog(parsed) == [[0.8] * parsed.length] * 2
    assert parsed.notes == ()


def test_more_than_half_a_day_is_one_row(tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", times=[0, 13 * 3600], clock=1000, audio_codec=None)
    with pytest.raises(ItemError, match=r"it lasts 13\.0 hours; at most 12 can be parsed") as error:
        videos.inspect(clip)
    assert error.value.status == Status.TOO_LONG


def test_a_large_file_is_given_the_time_to_be_read(tmp_path, monkeypatch):
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(60 << 30)
    given = []
    monkeypatch.setattr(videos, "run_isolated", lambda *words: given.append(words[-1]) or [])
    named = {"large": large, "missing": tmp_path / "missing.mp4"}
    assert videos.inspect_videos(named, T, 0, 1, 60.0) == ([], {})
    assert given == [60 + 6144]


# ---- names


def test_a_name_that_is_not_utf8_is_parsed_like_any_other(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    write_clip(tmp_path / "clip.mp4", seconds=T, fps=5).rename(tmp_path / name)
    (parsed,) = parse(tmp_path / "out", tmp_path / name, embed_bytes=0)
    folder = tmp_path / "out" / "caf_"
    assert parsed.title == "caf�.mp4"
    assert json.loads((folder / "parsed.json").read_text(encoding="utf-8"))["file"] == "caf�.mp4"
    assert "caf%E9.mp4" in (folder / "events.eaf").read_text(encoding="utf-8")
    assert (folder / "media.mp4").samefile(tmp_path / name)


def test_a_missing_file_is_named_as_it_was_given(tmp_path):
    missing = tmp_path / "my clips" / "a b.mp4"
    with pytest.raises(PipelineError) as error:
        find_files([missing])
    assert str(error.value) == f"'{missing}' does not exist; check the path."
    with pytest.raises(PipelineError, match="nor 2 other files; check the path"):
        find_files([missing, missing, missing])


def test_of_several_files_that_are_not_media_one_is_named(tmp_path):
    files = [tmp_path / f"{number}.mp4" for number in range(3)]
    for file in files:
        file.write_bytes(b"not a video")
    with pytest.raises(PipelineError, match=r"0\.mp4' .*\), nor can 1 other file; check that"):
        parse(tmp_path / "out", *files[:2])
    with pytest.raises(PipelineError, match=r"\), nor can 2 other files; check that it plays"):
        parse(tmp_path / "out", *files)


# ---- runs


def test_a_second_run_lists_its_own_videos_and_deletes_no_others(tmp_path):
    one, two = (write_clip(tmp_path / f"{name}.mp4", seconds=T, fps=5) for name in ("one", "two"))
    out = tmp_path / "out"
    parse(out, one, two, embed_bytes=0)
    (out / "one" / "mine.txt").write_text("a note")
    assert (out / "one/media.mp4").exists()
    parse(out, one)
    index = (out / "index.html").read_text()
    assert "one/index.html" in index
    assert "two/index.html" not in index
    assert set(rows(out)) == {"one"}
    assert not (out / "one/media.mp4").exists(), "the page holds it now"
    assert (out / "one/mine.txt").read_text() == "a note"
    assert (out / "two/index.html").exists()
    assert one.exists()


class Counted(Constant):
    """Counts the windows that it has been asked about."""

    def __init__(self, **provenance: str) -> None:
        super().__init__()
        self.provenance, self.windows = provenance, 0

    def predict(self, windows) -> Probabilities:
        self.windows += len(windows)
        return super().predict(windows)


def test_a_second_run_parses_what_is_new_or_has_changed(tmp_path, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out"
    one, two = (write_clip(tmp_path / f"{name}.mp4", seconds=T, fps=5) for name in ("one", "two"))
    first = Counted(method="a")
    parse(out, one, predictor=first, redo=False)
    events = (out / "one/events.csv").read_bytes()
    index, status = ((out / name).read_text() for name in ("index.html", "status.tsv"))
    again = parse(out, one, predictor=first, redo=False)
    assert first.windows == 1
    assert "1 of 1 videos were parsed before with the same settings; --redo" in caplog.text
    assert again[0].events
    assert [(out / name).read_text() for name in ("index.html", "status.tsv")] == [index, status]
    both = parse(out, one, two, predictor=first, redo=False)
    assert [video.name for video in both] == ["one", "two"]
    assert first.windows == 2
    assert (out / "one/events.csv").read_bytes() == events
    parse(out, one, predictor=first)
    assert first.windows == 3


@pytest.mark.parametrize(
    "change",
    ["parser", "overlap", "threshold", "page", "video", "place", "file", "status", "damage"],
)
def test_what_would_differ_is_parsed_again(tmp_path, monkeypatch, change):
    out, second = tmp_path / "out", Counted(method="b" if change == "parser" else "a")
    one = write_clip(tmp_path / "one.mp4", seconds=T, fps=5)
    parse(out, one, predictor=Counted(method="a"))
    value = (out / "one/parsed.json").read_text()
    if change == "threshold":
        monkeypatch.setattr(second, "thresholds", DecisionThresholds(0.5, 0.5, 0.3), raising=False)
    elif change == "video":
        write_clip(one, seconds=T, fps=10)
    elif change == "place":
        (tmp_path / "other").mkdir()
        one = one.rename(tmp_path / "other" / "one.mp4")
    elif change == "file":
        (out / "one/events.vtt").unlink()
    elif change == "status":
        (out / "one/parsed.json").write_text(value.replace('"status": "ok"', '"status": "timeout"'))
    elif change == "damage":
        (out / "one/parsed.json").write_text(value[:-9])
    options = {"overlap": 1 if change == "overlap" else 2}
    options |= {"embed_bytes": 0} if change == "page" else {}
    parse(out, one, predictor=second, redo=False, **options)
    assert second.windows == 1
    assert len(list((out / "one").glob("events.vtt"))) == 1


@pytest.mark.parametrize("broken", ["embed", "page"])
def test_whatever_breaks_on_one_video_is_its_row(tmp_path, monkeypatch, broken):
    one, two = (write_clip(tmp_path / f"{name}.mp4", seconds=T, fps=5) for name in ("one", "two"))
    fails = {0: RuntimeError("out of\nmemory")} if broken == "embed" else {}
    if broken == "page":
        write = outputs.write_page

        def write_but_one(folder, *words):
            if folder.name == "one":
                raise RuntimeError("out of\nmemory")
            write(folder, *words)

        monkeypatch.setattr(outputs, "write_page", write_but_one)
    (parsed,) = parse(tmp_path / "out", one, two, fails=fails)
    found = rows(tmp_path / "out")
    assert parsed.name == "two"
    assert (found["one"]["kept"], found["one"]["status"]) == ("no", "crashed")
    assert "(RuntimeError: out of�memory); run it alone with --debug" in found["one"]["detail"]
    assert found["two"]["status"] == "ok"


def test_a_mistake_that_is_every_videos_ends_the_run(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=T, fps=5)
    with pytest.raises(PipelineError, match="the disk is full"):
        parse(tmp_path / "out", clip, fails={0: PipelineError("the disk is full")})
