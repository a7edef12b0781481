"""The demo: the same seed gives the same corpus, its tables are LLP's, its files tell the truth."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.files import RESOURCES
from pipeline.core.vocabulary import MODALITIES, read_vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    events_to_segments,
    read_events,
    read_weak_labels,
)
from pipeline.data.unav import read_unav
from pipeline.demo import statistics
from pipeline.demo.canvas import Canvas
from pipeline.demo.corpus import dense_annotations, make_corpus, render_video
from pipeline.demo.pictures import PICTURES
from pipeline.demo.scenes import CORPUS, FRAME_RATE, SIDE, draw_frames, mix_sound
from pipeline.demo.scripts import SEGMENTS, ScriptedEvent, VideoScript, write_scripts
from pipeline.demo.sounds import LOUDNESS, SOUNDS, sound
from pipeline.demo.synthesis import RATE

DEFAULT_COUNTS = {"train": 240, "val": 60, "test": 100}
SMALL_COUNTS = {"train": 2, "val": 2, "test": 1}
VOCABULARY = read_vocabulary()
CLEAR = replace(
    CORPUS,
    shift=0,
    hiding=0,
    light=(1, 1),
    grain=(0, 0),
    gain=(0, 0),
    fading=0,
    hiss=(-40, -40),
    hum=0,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_corpus(folder, 3, SMALL_COUNTS, workers=1)
    return folder


def lawn_mower_at_end() -> VideoScript:
    """Seen in seconds 7 to 9, heard in seconds 2 and 3."""
    event = ScriptedEvent("Lawn_mower", audible=((2, 4),), visible=((7, 10),))
    return VideoScript("-awnmower01_0_10", "val", (9,), (event,))


def test_dense_annotations_are_what_is_heard_and_seen(tmp_path: Path) -> None:
    scripts = write_scripts(1, {"train": 30, "val": 10, "test": 1})
    path = tmp_path / "dense.json"
    path.write_text(json.dumps(dense_annotations(scripts, VOCABULARY)))
    found = read_unav(path)
    assert set(found.labels.values()) <= set(VOCABULARY.names)
    assert Counter(video.subset for video in found.videos.values()) == {
        "train": 30,
        "validation": 10,
        "test": 1,
    }
    for script in scripts:
        expected = np.zeros((SEGMENTS, len(VOCABULARY)), np.uint8)
        for event in script.events:
            for second in range(SEGMENTS):
                if all(event.is_active(modality, second) for modality in MODALITIES):
                    expected[second, VOCABULARY.index(event.label)] = 1
        labels = found.videos[script.filename].labels(len(VOCABULARY))
        np.testing.assert_array_equal(labels, expected)


def test_every_class_has_counts_a_picture_and_a_sound() -> None:
    for table in (statistics.SINGLES, statistics.AUDIBLE_VISIBLE_BOTH, PICTURES, SOUNDS):
        assert tuple(table) == VOCABULARY.names
    assert {name for pair in statistics.PAIRS for name in pair} == set(VOCABULARY.names)


def test_counts_agree_with_the_published_totals() -> None:
    # methods: 4032 train videos with one label, 5879 with two; 3348 weak labels elsewhere.
    assert sum(statistics.SINGLES.values()) == 4032
    assert sum(statistics.PAIRS.values()) == 5879 - 86
    both = np.array(list(statistics.AUDIBLE_VISIBLE_BOTH.values()))
    assert both[:, [0, 2]].sum() / both.sum() == pytest.approx(0.96, abs=0.01)
    assert both[:, [1, 2]].sum() / both.sum() == pytest.approx(0.64, abs=0.02)


def test_scripts_repeat_and_differ_by_seed() -> None:
    first, again, other = (write_scripts(seed, SMALL_COUNTS) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def summary(scripts: Iterable[VideoScript]) -> dict[str, float]:
    """Return what can be held against LLP's own statistics.

    Returns
    -------
    dict
        ``heard`` and ``seen``: shares of the weak labels; ``only_seen``: share that is not heard;
        ``labels``: mean number a video; ``speech_seen``: share of Speech labels that are seen.
    """
    scripts = list(scripts)
    events = [event for script in scripts for event in script.events]
    speech = Counter(bool(event.visible) for event in events if event.label == "Speech")
    return {
        "heard": float(np.mean([bool(event.audible) for event in events])),
        "seen": float(np.mean([bool(event.visible) for event in events])),
        "only_seen": float(np.mean([not event.audible for event in events])),
        "labels": len(events) / len(scripts),
        "speech_seen": speech[True] / max(speech.total(), 1),
    }


@pytest.mark.parametrize("seed", range(3))
def test_default_corpus_has_llp_proportions_and_every_class(seed: int) -> None:
    scripts = write_scripts(seed, DEFAULT_COUNTS)
    found = summary(scripts)
    assert found["heard"] == pytest.approx(0.96, abs=0.03)
    assert found["seen"] == pytest.approx(0.64, abs=0.06)
    assert found["only_seen"] == pytest.approx(0.04, abs=0.03)
    assert found["labels"] == pytest.approx(1.69, abs=0.12)  # LLP: train 1.6, elsewhere 1.8
    assert found["speech_seen"] == pytest.approx(0.22, abs=0.1)
    for split in DEFAULT_COUNTS:
        chosen = [script for script in scripts if script.split == split]
        assert len(chosen) == DEFAULT_COUNTS[split]
        assert {label for script in chosen for label in script.labels} == set(VOCABULARY.names)


def test_events_lie_inside_the_clip_and_their_runs_are_apart() -> None:
    runs = [
        event.runs(modality)
        for script in write_scripts(4, DEFAULT_COUNTS)
        for event in script.events
        for modality in MODALITIES
    ]
    for one in runs:
        edges = [second for run in one for second in run]
        assert edges == sorted(set(edges))
        assert all(0 <= edge <= SEGMENTS for edge in edges)
    assert any(len(one) == 2 for one in runs)
    assert any(one == ((0, SEGMENTS),) for one in runs)


def test_names_are_llp_like() -> None:
    names = [script.filename for script in write_scripts(0, DEFAULT_COUNTS)]
    assert len({name[:11] for name in names}) == len(names)
    assert sum(name.startswith("-") for name in names) >= 3
    assert not any(name.startswith("_") for name in names)
    for name in names:
        start, end = name[12:].split("_")
        assert name[11] == "_"
        assert float(end) - float(start) == SEGMENTS


def test_tables_hold_the_scripts_truth(corpus: Path) -> None:
    truth = json.loads((corpus / "corpus.json").read_text())
    scripts = write_scripts(3, SMALL_COUNTS)
    assert [video["filename"] for video in truth["videos"]] == [s.filename for s in scripts]
    for split, table in SPLIT_TABLES.items():
        weak = read_weak_labels(corpus / "annotations" / table, VOCABULARY)
        assert weak == {
            script.filename: tuple(VOCABULARY.index(label) for label in script.labels)
            for script in scripts
            if script.split == split
        }
    dense = [script for script in scripts if script.split != "train"]
    for modality, table in EVENT_TABLES.items():
        events = read_events(corpus / "annotations" / table, VOCABULARY)
        labels = events_to_segments(events, [s.filename for s in dense], SEGMENTS, len(VOCABULARY))
        assert {event.filename for event in events} <= {script.filename for script in dense}
        for row, script in enumerate(dense):
            active = {
                (second, VOCABULARY.index(event.label))
                for event in script.events
                for second in range(SEGMENTS)
                if event.is_active(modality, second)
            }
            assert set(zip(*np.nonzero(labels[row]), strict=True)) == active


def test_a_second_run_keeps_whole_videos_and_mends_others(corpus: Path) -> None:
    videos = sorted((corpus / "videos").iterdir())
    before = [video.read_bytes() for video in videos]
    videos[0].write_bytes(before[0][: len(before[0]) // 2])
    times = [video.stat().st_mtime_ns for video in videos]
    make_corpus(corpus, 3, SMALL_COUNTS, workers=1)
    assert [video.read_bytes() for video in videos] == before
    assert [video.stat().st_mtime_ns for video in videos][1:] == times[1:]


def test_a_video_of_another_script_is_replaced(tmp_path: Path) -> None:
    script = lawn_mower_at_end()
    render_video(tmp_path, script)
    path = tmp_path / f"{script.filename}.mp4"
    before = path.read_bytes()
    render_video(tmp_path, replace(script, seed=(10,)))
    assert path.read_bytes() != before


def test_a_video_shows_and_sounds_when_its_script_says(tmp_path: Path) -> None:
    script = lawn_mower_at_end()
    render_video(tmp_path, script)
    with av.open(str(tmp_path / f"{script.filename}.mp4")) as container:
        assert {stream.codec_context.name for stream in container.streams} == {"h264", "aac"}
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(tmp_path / f"{script.filename}.mp4")) as container:
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    drawn, heard = list(draw_frames(script)), mix_sound(script)
    assert np.shape(frames) == (SEGMENTS * FRAME_RATE, SIDE, SIDE, 3)
    assert np.abs(np.subtract(frames, drawn, dtype=np.float64)).mean() < 8
    decoded = np.concatenate(pieces)[: len(heard)]
    assert np.corrcoef(decoded, heard[: len(decoded)])[0, 1] > 0.98


def test_pictures_and_sounds_come_only_in_their_seconds() -> None:
    script = lawn_mower_at_end()
    empty = replace(script, events=())
    frames = [np.stack(list(draw_frames(one, CLEAR))) for one in (script, empty)]
    changed = (frames[0] != frames[1]).reshape(SEGMENTS, -1).any(axis=1)
    assert changed.tolist() == [False] * 7 + [True] * 3
    sounds = [mix_sound(one, CLEAR).reshape(SEGMENTS, RATE) for one in (script, empty)]
    assert (sounds[0] != sounds[1]).any(axis=1).nonzero()[0].tolist() == [2, 3]


@pytest.mark.parametrize("label", PICTURES)
def test_pictures_move_and_sounds_have_one_loudness(label: str) -> None:
    images = set()
    for step in range(FRAME_RATE):
        canvas = Canvas()
        PICTURES[label](canvas, step / FRAME_RATE)
        images.add(canvas.image.tobytes())
    assert len(images) > 1
    wave = sound(label, np.random.default_rng(0), voice=0.5)
    assert wave.shape == (RATE,)
    assert float(np.sqrt(np.mean(wave**2))) == pytest.approx(LOUDNESS, rel=0.1)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="'val' is 0; must be at least 1"):
        make_corpus(tmp_path, 0, {"train": 1, "val": 0, "test": 1}, workers=1)


class TestEncoders:
    """The shipped files, through the pipeline's own loaders."""

    FOLDER = RESOURCES / "demo_encoders"
    COUNT = 100

    @pytest.mark.parametrize("encoder", ["clip", "clap"])
    def test_they_know_clear_examples_and_doubt_hard_ones(self, encoder: str) -> None:
        from pipeline.demo.examples import (
            TRAINING,
            draw_examples,
            draw_pictures,
            name_examples,
            play_sounds,
        )
        from pipeline.features.encoders.base import load_encoder
        from pipeline.features.encoders.options import encoder_options

        if encoder == "clip":
            model, weights = self.FOLDER / "clip.json", self.FOLDER / "clip.safetensors"
            spec = encoder_options(
                "clip", backend="open_clip", model=str(model), weights=str(weights)
            )
        else:
            model = self.FOLDER / "clap"
            weights = model / "model.safetensors"
            spec = encoder_options(
                "clap", backend="transformers", model=str(model), weights=str(weights)
            )
        loaded = load_encoder(spec, "cpu")
        text = loaded.embed_captions(VOCABULARY.captions(spec.modality))
        examples = draw_examples(77, self.COUNT, paired=0, empty=0)
        truth = name_examples(examples, 0, misnamed=0).argmax(axis=1)
        accuracy = {}
        for kind, conditions in (("clear", TRAINING), ("hard", CORPUS)):
            if encoder == "clip":
                seconds = draw_pictures(examples, conditions, 64)[:, None, None]
            else:
                seconds = play_sounds(examples, conditions)
            embedding = loaded.embed(seconds)["embedding"][:, 0]
            accuracy[kind] = np.mean((embedding @ text.T).argmax(axis=1) == truth)
        # Chance is 0.04.
        assert accuracy["clear"] > 0.6
        assert 0.3 < accuracy["hard"] < 0.97

    def test_they_are_small(self) -> None:
        sizes = {path.name: path.stat().st_size for path in self.FOLDER.rglob("*.safetensors")}
        assert set(sizes) == {"clip.safetensors", "model.safetensors"}
        assert sum(sizes.values()) < 8_000_000
