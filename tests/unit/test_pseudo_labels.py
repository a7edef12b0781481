import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli import main
from pipeline.config.load import load_config
from pipeline.config.settings import inference_settings
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, read_shard, write_shard
from pipeline.core.vocabulary import EventClass, Vocabulary, read_vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, segments_to_events, write_events
from pipeline.inference.settings import (
    InferenceSettings,
    read_settings,
    write_settings,
)
from pipeline.labels.pseudo_labels import gather_videos, labels_fingerprint, soften
from pipeline.labels.similarity import read_logits
from pipeline.labels.thresholds import best_threshold, calibrated_thresholds, fixed_thresholds

VOCABULARY = read_vocabulary()
C = len(VOCABULARY)
SPEECH, CAR, DOG = (VOCABULARY.index(name) for name in ("Speech", "Car", "Dog"))
SPLITS = {"train": ("t1", "t2"), "val": ("v1", "v2", "v3"), "test": ("e1", "e2")}


@dataclass(frozen=True)
class Corpus:
    """Folders of a small corpus; the segments of its features are mixtures of the captions."""

    clip: Path
    clap: Path
    annotations: Path
    out: Path

    def label(self, *more: str) -> int:
        words = [f"--{key}={path}" for key, path in vars(self).items()]
        return main(["pseudo-labels", *words, *more])


def write_features(folder: Path, logits: dict[str, np.ndarray], scale: float) -> None:
    """Write two shards and an empty one whose logits are those given, ``[T, C]`` a video."""
    text = np.eye(C, dtype=np.float32)
    write_shard(
        folder / "prompts.safetensors",
        Shard(VOCABULARY.names, {"text": text}, {"logit_scale": str(scale), "fingerprint": "7"}),
    )
    names = sorted(logits, reverse=True)
    for index, part in enumerate((names[:1], [], names[1:]), start=1):
        rows = [logits[name] / scale for name in part] or np.zeros((0, 10, C))
        embedding = np.asarray(rows, np.float32).reshape(len(part), 10, C)
        shard = Shard(
            tuple(part), {"embedding": embedding}, {"encoder": folder.name, "fingerprint": "7"}
        )
        write_shard(folder / f"{index}-of-3.safetensors", shard)


def write_weak(folder: Path, weak: dict[str, str]) -> None:
    for split, table in SPLIT_TABLES.items():
        rows = "".join(f"{name}\t{weak[name]}\n" for name in SPLITS[split])
        (folder / table).write_text("filename\tevent_labels\n" + rows)


def write_truth(folder: Path, truth: np.ndarray, names: tuple[str, ...]) -> None:
    for labels, table in zip(truth, EVENT_TABLES.values(), strict=True):
        write_events(folder / table, segments_to_events(labels, names), VOCABULARY)


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[[int], Corpus]:
    """Dogs in the first half of every video of val; what test has depends on the argument."""

    def make(test_seed: int) -> Corpus:
        folder = tmp_path / f"seed{test_seed}"
        corpus = Corpus(*(folder / name for name in ("clip", "clap", "annotations", "out")))
        corpus.annotations.mkdir(parents=True)
        random = np.random.default_rng(0)
        names = [name for names in SPLITS.values() for name in names]
        for features, scale in ((corpus.clip, 100.0), (corpus.clap, 20.0)):
            logits = {name: random.normal(0, 1, (10, C)) for name in names}
            for name in SPLITS["val"]:
                logits[name][:5, DOG] += 12
            write_features(features, logits, scale)
        write_weak(corpus.annotations, dict.fromkeys(names, "Dog") | {"v3": "Dog,Speech"})
        scored = SPLITS["val"] + SPLITS["test"]
        truth = np.zeros((2, len(scored), 10, C), np.uint8)
        truth[:, :3, :5, DOG] = 1
        truth[:, 3:] = np.random.default_rng(test_seed).random((2, 2, 10, C)) < 0.3
        write_truth(corpus.annotations, truth, scored)
        return corpus

    return make


def test_fixed_labels_are_strictly_above_the_vocabularys_thresholds(
    make_corpus: Callable[[int], Corpus], tmp_path: Path
) -> None:
    corpus = make_corpus(1)
    names = ("t1", "v1", "e1")
    visual = np.zeros((10, C))
    threshold = VOCABULARY.classes[SPEECH].visual_threshold
    visual[:3, SPEECH] = threshold - 1, threshold, threshold + 1
    visual[4, CAR] = 64
    # A scale of 64 keeps these logits exact in float32.
    corpus = Corpus(tmp_path / "clip", tmp_path / "clap", corpus.annotations, tmp_path / "out")
    write_features(corpus.clip, dict.fromkeys(names, visual), 64.0)
    write_features(corpus.clap, {name: np.full((10, C), -64.0) for name in (*names, "t2")}, 64.0)
    write_weak(corpus.annotations, {n: "Car" for s in SPLITS.values() for n in s} | {"e1": "Dog"})
    assert corpus.label("--thresholds=fixed") == 0
    labels = read_shard(corpus.out / "labels.safetensors")
    assert labels.names == ("e1", "t1", "v1")
    assert labels.meta["thresholds"] == "fixed"
    assert (labels.meta["clip"], labels.meta["clap"]) == ("7", "7")
    np.testing.assert_array_equal(labels["visual_logits"][0], visual)
    for row in range(3):
        assert np.argwhere(labels["visual"][row]).tolist() == [[2, SPEECH], [4, CAR]]
    assert [labels["visual_masked"][row].sum() for row in range(3)] == [0, 1, 1]
    assert labels["audio"].sum() == 0
    assert labels["audio"].dtype == labels["visual_masked"].dtype == np.uint8
    sigmoid = 1 / (1 + np.exp([0.5, 0.0, -0.5]))
    for row in range(3):  # soft labels are not masked here
        np.testing.assert_allclose(labels["visual_soft"][row, :3, SPEECH], sigmoid, rtol=1e-6)


def test_soft_labels_are_sigmoids_that_never_overflow() -> None:
    soft = soften(np.array([[-2e4, 1.0, 5.0, 2e4]], np.float32), np.array([0.0, 1.0, 4.0, 0.0]))
    np.testing.assert_allclose(soft, [[0, 0.5, 1 / (1 + np.exp(-0.5)), 1]], rtol=1e-6)
    assert soft.dtype == np.float32


def test_calibration_finds_what_separates_the_classes(
    make_corpus: Callable[[int], Corpus],
) -> None:
    corpus = make_corpus(1)
    assert corpus.label("--thresholds=calibrated") == 0
    labels = read_shard(corpus.out / "labels.safetensors")
    val = [labels.names.index(name) for name in SPLITS["val"]]
    for modality in ("audio", "visual"):
        expected = np.zeros((3, 10, C), np.uint8)
        expected[:, :5, DOG] = 1
        np.testing.assert_array_equal(labels[modality][val], expected)
        np.testing.assert_array_equal(
            labels[f"{modality}_masked"][val][..., DOG], expected[..., DOG]
        )
    quality = json.loads((corpus.out / "quality.json").read_text())
    assert list(quality) == ["val", "test"]
    assert quality["val"]["unmasked"]["metrics"]["segment"]["type"] == 100
    assert quality["test"]["masked"]["videos"] == 2
    with (corpus.out / "thresholds.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["class"] for row in rows] == list(VOCABULARY.names)
    thresholds = np.array([float(row["audio"]) for row in rows])
    np.testing.assert_array_equal(labels["audio_logits"] > thresholds, labels["audio"])
    assert float(rows[CAR]["visual_masked"]) == VOCABULARY.classes[CAR].visual_threshold


def test_test_truth_never_moves_a_threshold(make_corpus: Callable[[int], Corpus]) -> None:
    written = []
    for seed in (1, 2):
        corpus = make_corpus(seed)
        assert corpus.label("--thresholds=calibrated") == 0
        written.append(
            [(corpus.out / name).read_bytes() for name in ("thresholds.tsv", "labels.safetensors")]
        )
        quality = json.loads((corpus.out / "quality.json").read_text())
        written[-1].append(quality["val"])
    assert written[0] == written[1]


def test_masked_labels_never_leave_the_weak_label(make_corpus: Callable[[int], Corpus]) -> None:
    corpus = make_corpus(1)
    for kind in ("fixed", "calibrated"):
        assert corpus.label(f"--thresholds={kind}") == 0
        labels = read_shard(corpus.out / "labels.safetensors")
        for modality in ("audio", "visual"):
            weak = np.zeros((7, 1, C))
            weak[:, :, DOG] = weak[labels.names.index("v3"), :, SPEECH] = 1
            assert (labels[f"{modality}_masked"] <= weak).all()
            if kind == "fixed":
                assert (labels[f"{modality}_masked"] <= labels[modality]).all()


def test_the_fingerprint_is_of_all_that_makes_unmasked_labels(
    make_corpus: Callable[[int], Corpus],
) -> None:
    thresholds = fixed_thresholds(VOCABULARY).unmasked
    encoders = {"clip": "7", "clap": "7"}
    corpus = make_corpus(1)
    assert corpus.label("--thresholds=fixed") == 0
    made = read_shard(corpus.out / "labels.safetensors").meta["fingerprint"]
    assert made == labels_fingerprint(VOCABULARY, thresholds, encoders)
    first = VOCABULARY.classes[0].model_copy(update={"audio_caption": "in other words"})
    others = [
        labels_fingerprint(Vocabulary((first, *VOCABULARY.classes[1:])), thresholds, encoders),
        labels_fingerprint(VOCABULARY, thresholds + np.eye(2, C) / 50, encoders),
        labels_fingerprint(VOCABULARY, thresholds, encoders | {"clap": "8"}),
        labels_fingerprint(VOCABULARY, thresholds[::-1], encoders),
    ]
    assert len({made, *others}) == 5
    for noise in (-1e-6, 1e-6):  # another machine's sums
        assert labels_fingerprint(VOCABULARY, thresholds + noise, encoders) == made


def test_parse_names_a_runs_labels_as_the_run_does(
    make_corpus: Callable[[int], Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From thresholds.tsv through parsing.json to what a checkpoint is compared with."""
    corpus = make_corpus(1)
    config = load_config(preset="demo")
    path = corpus.out / "parsing.json"
    monkeypatch.setattr(
        InferenceSettings, "feature_fingerprints", lambda self: {"clip": "7", "clap": "7"}
    )
    made = []
    for kind in ("fixed", "calibrated"):
        assert corpus.label(f"--thresholds={kind}") == 0
        write_settings(path, inference_settings(config), VOCABULARY, corpus.out / "thresholds.tsv")
        made.append(read_shard(corpus.out / "labels.safetensors").meta["fingerprint"])
        fingerprints = read_settings(path).fingerprints()
        assert fingerprints.pop("texts") == VOCABULARY.captions_fingerprint()
        assert fingerprints == {"clip": "7", "clap": "7", "labels": made[-1]}
    assert made[0] != made[1]


def f1_above(threshold: float, logits: np.ndarray, truth: np.ndarray) -> float:
    predicted = logits > threshold
    return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=30))
def test_best_threshold_is_the_highest_of_the_best(pairs: list[tuple[int, bool]]) -> None:
    logits = np.array([value for value, _ in pairs], np.float32)
    truth = np.array([positive for _, positive in pairs])
    if not truth.any():
        truth[0] = True
    chosen = best_threshold(logits, truth)
    scores = {half / 2: f1_above(half / 2, logits, truth) for half in range(-13, 12)}
    best = max(scores.values())
    assert f1_above(chosen, logits, truth) == pytest.approx(best)
    last = logits[logits > chosen].min()
    for threshold, value in scores.items():
        assert value < best - 1e-12 or not threshold >= last


def test_thresholds_of_masked_labels_are_calibrated_where_the_class_is_expected() -> None:
    """A class that one weak label in ten has: the mask already answers most of the question."""
    vocabulary = Vocabulary((named("x"),))
    random = np.random.default_rng(0)
    weak = (np.arange(400) % 10 == 0).astype(np.uint8)[:, None]
    truth = (random.random((2, 400, 10, 1)) < 0.8) & (weak[:, None] > 0)
    logits = random.normal(0, 1, truth.shape) + 1.5 * truth
    thresholds = calibrated_thresholds(logits, truth, weak, vocabulary)
    assert (thresholds.masked < thresholds.unmasked - 1).all()

    def masked_f1(of: np.ndarray) -> float:
        predicted = (logits > of[:, None, None]) & (weak[:, None] > 0)
        return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())

    assert masked_f1(thresholds.masked) > masked_f1(thresholds.unmasked) + 0.1


def test_classes_without_validation_positives() -> None:
    vocabulary = Vocabulary((named("x"), named("y")))
    logits = np.random.default_rng(0).normal(0, 1, (2, 3, 10, 2)).astype(np.float32)
    truth = np.zeros(logits.shape, np.uint8)
    truth[0, 0, :4, 0] = 1  # x is heard in a video whose weak label lacks it
    thresholds = calibrated_thresholds(logits, truth, np.zeros((3, 2)), vocabulary)
    assert (logits[1] > thresholds.unmasked[1]).sum() == 0
    assert thresholds.unmasked[0, 1] == logits[0, ..., 1].max()
    assert (logits[0, ..., 0] > thresholds.unmasked[0, 0]).any()
    np.testing.assert_array_equal(thresholds.masked, fixed_thresholds(vocabulary).masked)
    with pytest.raises(PipelineError, match="need validation videos"):
        calibrated_thresholds(logits[:, :0], truth[:, :0], np.zeros((0, 2)), vocabulary)


def test_classes_without_a_validation_event_are_named(
    make_corpus: Callable[[int], Corpus], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_corpus(0)
    assert corpus.label("--thresholds=calibrated") == 0
    said = capsys.readouterr().err
    assert f"no audio threshold can be chosen for {C - 1} of {C} classes" in said
    assert "Speech, " in said
    assert "Dog" not in said.split("event: ")[1].splitlines()[0].split(", ")
    assert corpus.label("--thresholds=fixed") == 0
    assert "threshold can be chosen" not in capsys.readouterr().err


def test_a_video_in_two_splits_is_refused(
    make_corpus: Callable[[int], Corpus], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_corpus(0)
    with (corpus.annotations / SPLIT_TABLES["test"]).open("a") as table:
        table.write("t2\tDog\n")
    assert corpus.label() == 2
    assert "'t2' is in the splits train and test" in capsys.readouterr().err


def named(name: str) -> EventClass:
    return EventClass(
        name=name, visual_caption="", audio_caption="", visual_threshold=7, audio_threshold=3
    )


def test_index_0_is_audio() -> None:
    fixed = fixed_thresholds(VOCABULARY)
    assert fixed.unmasked[:, DOG].tolist() == [4, 14]
    assert fixed.masked.shape == (2, C)


def test_features_that_do_not_fit_are_named(tmp_path: Path) -> None:
    write_features(tmp_path / "clip", {"a": np.zeros((10, C))}, 100.0)
    with pytest.raises(PipelineError, match="run the prompts stage"):
        read_logits("clip", tmp_path / "clip", Vocabulary(VOCABULARY.classes[::-1]))
    clip = read_logits("clip", tmp_path / "clip", VOCABULARY)
    write_features(tmp_path / "empty", {}, 100.0)
    with pytest.raises(PipelineError, match="have no videos"):
        read_logits("empty", tmp_path / "empty", VOCABULARY)
    with pytest.raises(PipelineError, match="has clip features; give a folder of clap features"):
        read_logits("clap", tmp_path / "clip", VOCABULARY)
    prompts = read_shard(tmp_path / "clip" / "prompts.safetensors")
    other = Shard(prompts.names, prompts.arrays, {**prompts.meta, "fingerprint": "8"})
    write_shard(tmp_path / "clip" / "prompts.safetensors", other)
    with pytest.raises(PipelineError, match=r"features \(7\) and the prompts \(8\)"):
        read_logits("clip", tmp_path / "clip", VOCABULARY)
    weak = {"val": {"a": (DOG,)}, "test": {}}
    with pytest.raises(PipelineError, match="no video has both"):
        gather_videos(clip, Shard(("b",), {"logits": clip["logits"]}), weak)
    with pytest.raises(PipelineError, match="8 segments per video and CLIP 10"):
        gather_videos(clip, Shard(("a",), {"logits": np.zeros((1, 8, C))}), weak)
    with pytest.raises(PipelineError, match="'a' is in no weak table"):
        gather_videos(clip, clip, {"val": {}})
