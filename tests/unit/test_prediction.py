"""The decision rule, the event tables, and the command line from features to events."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import Corpus, make_vocabulary, make_world, write_corpus

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, read_shard, write_shard
from pipeline.core.vocabulary import read_vocabulary
from pipeline.data.annotations import (
    EVENT_TABLES,
    SPLIT_TABLES,
    events_to_segments,
    read_events,
    read_names,
)
from pipeline.parsers import registry
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.decision import Probabilities, decide, decision_scores
from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.prediction import parse_videos, write_predictions
from pipeline.parsers.recipes import LinkRecipe, Recipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.report.trained import read_parsers
from pipeline.training.calibration import calibrated_thresholds

WORLD = make_world(classes=5)
REPOSITORY = Path(__file__).resolve().parents[2]
TINY = ["epochs=3", "width=16", "layers=1", "heads=2", "feedforward=32", "batch_size=8"]


def probabilities() -> Probabilities:
    audio = np.full((1, 3, 2), 0.6, np.float32)
    audio[0, 1, 0] = 0.4999
    gate = np.array([[[0.5, 0.49], [0.7, 0.9]]], np.float32)
    return Probabilities(audio, np.full((1, 3, 2), 0.5, np.float32), gate)


def test_both_thresholds_are_inclusive_and_each_modality_has_its_gate() -> None:
    audio, visual = decide(probabilities(), Recipe())
    assert audio[0].tolist() == [[1, 0], [0, 0], [1, 0]]
    assert visual[0].tolist() == [[1, 1]] * 3


def test_thresholds_are_the_recipes() -> None:
    audio, visual = decide(probabilities(), Recipe(segment_threshold=0.55, video_threshold=0.6))
    assert not audio.any()
    assert not visual.any()


@pytest.mark.parametrize("gate", ["global", "modality", "mixed"])
def test_the_gate_is_the_videos_or_each_modalitys_own(gate: str) -> None:
    recipe = recipe_for("valorpp", {"width": 8, "layers": 1, "heads": 2, "gate": gate})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parser = build_network("valorpp", Dimensions(5, 6, 0, 0, 0, 4, 3), recipe).eval()
        inputs = ParserInputs(10 * torch.randn(7, 4, 5), 10 * torch.randn(7, 4, 6))
    with torch.inference_mode():
        output = parser(inputs)
    own = (output.audio_video, output.visual_video)
    both = {"global": (output.video,) * 2, "modality": own, "mixed": (output.video, own[1])}
    gates = np.stack(both[gate], axis=1)
    threshold = float(np.median(gates))
    assert ((own[0] >= threshold) != (own[1] >= threshold)).any(), "the modalities must differ"
    found = parse_videos(parser, inputs, recipe)
    np.testing.assert_array_equal(found.gate, gates)
    # Every segment counts, so the gates alone decide.
    recipe = recipe.model_copy(update={"segment_threshold": 0.0, "video_threshold": threshold})
    for index, labels in enumerate(decide(found, recipe)):
        expected = np.broadcast_to(gates[:, index, None] >= threshold, labels.shape)
        np.testing.assert_array_equal(labels, expected)


def test_written_tables_read_back_as_the_labels(tmp_path: Path) -> None:
    vocabulary, names = make_vocabulary(2), ("abc_0_10",)
    labels = write_predictions(tmp_path, "val", names, probabilities(), Recipe(), vocabulary)
    for modality, expected in zip(("audio", "visual"), labels, strict=True):
        events = read_events(tmp_path / f"predicted_val_{modality}.csv", vocabulary)
        np.testing.assert_array_equal(events_to_segments(events, names, 3, 2), expected)
    shard = read_shard(tmp_path / "probabilities_val.safetensors")
    assert {key: array.shape for key, array in shard.arrays.items()} == {
        "audio": (1, 3, 2),
        "visual": (1, 3, 2),
        "gate": (1, 2, 2),
    }


@pytest.mark.parametrize("method", ["link", "valorpp"])
def test_weights_of_segments_are_kept_of_a_method_that_has_them(
    corpus: Corpus, tmp_path: Path, method: str
) -> None:
    assert main(train_words(corpus, tmp_path, method=method)) == 0
    shard = read_shard(tmp_path / "probabilities_test.safetensors")
    assert ("attention" in shard.arrays) == (method == "link")
    if method == "link":
        videos, segments, _ = shard["audio"].shape
        assert shard["attention"].shape == (videos, 2, segments)
        assert ((shard["attention"] > 0) & (shard["attention"] < 1)).all()


# Enough for scores above 0.
LONGER = ("epochs=12", "learning_rate=0.01", "warmup_epochs=2")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path, WORLD)


def train_words(corpus: Corpus, out: Path, *options: str, method: str = "link") -> list[str]:
    words = ["train", "--method", method, "--seed", "0", "--out", str(out), *corpus.words()]
    for option in (*TINY, *options):
        words += ["--option", option]
    return words


def predict_words(corpus: Corpus, checkpoint: Path, out: Path, split: str = "test") -> list[str]:
    return [
        *("predict", "--checkpoint", str(checkpoint), "--split", split, "--out", str(out)),
        *corpus.words(),
    ]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("method", ["link", "valorpp", "valor", "han"])
def test_train_leaves_all_that_is_promised(
    corpus: Corpus, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert main(train_words(corpus, out, method=method)) == 0
    checkpoint = read_checkpoint(out)
    assert capsys.readouterr().out == (
        f"seed 0: epoch {checkpoint.epoch}, segment-level Type@AV on validation"
        f" {checkpoint.score:.2f}%, {out / 'checkpoint.safetensors'}\n"
    )
    predicted = {f"predicted_{s}_{m}.csv" for s in ("val", "test") for m in ("audio", "visual")}
    shards = {"probabilities_val.safetensors", "probabilities_test.safetensors"}
    files = {"checkpoint.safetensors", "curve.csv", "metrics.json", "thresholds.json"}
    assert set(files_in(out)) == predicted | shards | files


def test_predict_and_evaluate_agree_with_train(corpus: Corpus, tmp_path: Path) -> None:
    whole, fit = tmp_path / "whole", tmp_path / "fit"
    options = ("epochs=12", "learning_rate=0.01", "warmup_epochs=2")
    assert main(train_words(corpus, whole, *options)) == 0
    assert main([*train_words(corpus, fit, *options), "--fit-only"]) == 0
    assert set(files_in(fit)) == {"checkpoint.safetensors", "curve.csv"}
    for split in ("val", "test"):
        assert main(predict_words(corpus, fit, fit, split)) == 0
    ours, theirs = files_in(whole), files_in(fit)
    for name in set(theirs) - {"curve.csv"}:
        assert ours[name] == theirs[name], name
    scored = tmp_path / "scored.json"
    words = ["evaluate", "--videos", str(corpus.annotations / SPLIT_TABLES["test"])]
    for modality in ("audio", "visual"):
        words += [f"--truth-{modality}", str(corpus.annotations / EVENT_TABLES[modality])]
        words += [f"--predicted-{modality}", str(fit / f"predicted_test_{modality}.csv")]
    assert main([*words, "--out", str(scored), "--vocabulary", str(corpus.vocabulary)]) == 0
    metrics = json.loads((whole / "metrics.json").read_text())["test"]["metrics"]
    assert json.loads(scored.read_text())["metrics"] == metrics
    assert metrics["segment"]["type"] > 0


def labels_in(folder: Path, corpus: Corpus, split: str) -> np.ndarray:
    """Return the predicted labels of a folder, [2, N, T, C]."""
    names = read_shard(folder / f"probabilities_{split}.safetensors").names
    tables = [folder / f"predicted_{split}_{modality}.csv" for modality in ("audio", "visual")]
    return labels_of(tables, names, corpus)


def labels_of(tables: list[Path], names: tuple[str, ...], corpus: Corpus) -> np.ndarray:
    vocabulary = read_vocabulary(corpus.vocabulary)
    events = [
        [row for row in read_events(path, vocabulary) if row.filename in names] for path in tables
    ]
    return np.stack([events_to_segments(each, names, 10, len(vocabulary)) for each in events])


def test_another_threshold_needs_no_training(corpus: Corpus, tmp_path: Path, capsys) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    assert main(train_words(corpus, model, *LONGER)) == 0
    before = files_in(model)
    words = predict_words(corpus, model / "checkpoint.safetensors", out)
    assert main([*words, "--threshold", "0.3"]) == 0
    shard = read_shard(out / "probabilities_test.safetensors")
    recipe = read_checkpoint(model).recipe
    segments = np.stack([shard["audio"], shard["visual"]])
    gates = shard["gate"].transpose(1, 0, 2)[:, :, None]
    moved = np.float32(recipe.video_threshold + 0.3 - recipe.segment_threshold)
    found = labels_in(out, corpus, "test")
    assert (found == (segments >= np.float32(0.3)) & (gates >= moved)).all()
    assert found.sum() > labels_in(model, corpus, "test").sum()
    header, first = (out / "thresholds.csv").read_text().splitlines()[:2]
    assert header == "class,audio,visual"
    assert first.endswith(",0.3,0.3")
    assert main([*predict_words(corpus, model, model), "--threshold", "0.3"]) == 2
    assert "--out must be another folder" in capsys.readouterr().err
    assert files_in(model) == before
    assert main([*words, "--threshold", str(recipe.segment_threshold)]) == 0
    assert (labels_in(out, corpus, "test") == labels_in(model, corpus, "test")).all()
    for given, kept in (([], "thresholds.json"), (["--threshold", "0.3"], "thresholds.csv")):
        assert main([*words, *given]) == 0
        assert [path.name for path in out.glob("thresholds.*")] == [kept]


@pytest.mark.parametrize("threshold", ["0", "1", "nan", "best"])
def test_thresholds_that_cannot_be(threshold: str, corpus: Corpus, tmp_path: Path, capsys) -> None:
    words = predict_words(corpus, tmp_path, tmp_path / "out")
    with pytest.raises(SystemExit):
        main([*words, "--threshold", threshold])
    assert "must be between 0 and 1 (exclusive), or calibrated" in capsys.readouterr().err


def test_thresholds_by_class_are_the_best_on_validation(corpus: Corpus, tmp_path: Path) -> None:
    model, out, one = tmp_path / "model", tmp_path / "out", tmp_path / "one"
    assert main(train_words(corpus, model, *LONGER)) == 0
    words = predict_words(corpus, model, out, "val")
    assert main([*words, "--threshold", "calibrated"]) == 0
    names = read_shard(out / "probabilities_val.safetensors").names
    tables = [corpus.annotations / EVENT_TABLES[modality] for modality in ("audio", "visual")]
    truth = labels_of(tables, names, corpus)

    def f1(labels: np.ndarray) -> np.ndarray:
        hits = (labels & truth).sum(axis=(1, 2))
        return 2 * hits / np.maximum(labels.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)), 1)

    best = f1(labels_in(out, corpus, "val"))
    for threshold in ("0.1", "0.3", "0.45", "0.6", "0.8"):
        words = predict_words(corpus, model, one, "val")
        assert main([*words, "--threshold", threshold]) == 0
        assert (best >= f1(labels_in(one, corpus, "val"))).all()
    assert (best > f1(labels_in(model, corpus, "val"))).any()


def test_a_class_without_annotations_keeps_its_threshold() -> None:
    random = np.random.default_rng(0)
    audio, visual = random.random((2, 5, 10, 2), np.float32)
    gate = np.ones((5, 2, 2), np.float32)
    recipe = recipe_for("link", {"segment_threshold": 0.4})
    truth = (np.zeros((5, 10, 2), np.uint8), (visual >= 0.7).astype(np.uint8))
    found = Probabilities(audio, visual, gate)
    thresholds = calibrated_thresholds(found, truth, recipe)
    assert thresholds[0].tolist() == [0.4, 0.4]
    assert (decide(found, recipe, thresholds)[1] == truth[1]).all()


def test_predictions_do_not_depend_on_weak_labels_of_val_and_test(
    corpus: Corpus, tmp_path: Path
) -> None:
    out, again = tmp_path / "model", tmp_path / "again"
    assert main(train_words(corpus, out)) == 0
    shard = read_shard(corpus.labels)
    held_out = [row for row, name in enumerate(shard.names) if name[0] != "t"]
    arrays = dict(shard.arrays)
    for key in ("audio_masked", "visual_masked"):
        arrays[key] = arrays[key].copy()
        arrays[key][held_out] = arrays[key][held_out[::-1]]
    write_shard(corpus.labels, Shard(shard.names, arrays, shard.meta))
    for split in ("val", "test"):
        path = corpus.annotations / SPLIT_TABLES[split]
        header, *rows = path.read_text().splitlines()
        names, labels = zip(*(row.split("\t") for row in rows), strict=True)
        mixed = [f"{name}\t{label}" for name, label in zip(names, labels[::-1], strict=True)]
        path.write_text("\n".join([header, *mixed]) + "\n")
        assert read_names(path) == list(names)
    assert main(train_words(corpus, again)) == 0
    before, after = files_in(out), files_in(again)
    for name in set(before) - {"curve.csv"}:
        assert before[name] == after[name], name


def test_checkpoint_is_only_for_its_features_and_classes(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert main([*train_words(corpus, out), "--fit-only"]) == 0
    for path in (corpus.features / "clip-0123456789").glob("*-of-2.safetensors"):
        shard = read_shard(path)
        write_shard(path, Shard(shard.names, shard.arrays, {"fingerprint": "another"}))
    labels = read_shard(corpus.labels)
    write_shard(corpus.labels, Shard(labels.names, labels.arrays))
    assert main(predict_words(corpus, out, out)) == 2
    assert (
        "trained on clip 'clip-simulated', but got 'another'; use the same, or retrain"
        in capsys.readouterr().err
    )
    assert main([*predict_words(corpus, out, out), "--split", "training"]) == 2
    assert "'training' is not a split" in capsys.readouterr().err
    other = write_corpus(tmp_path / "other", make_world(classes=4))
    assert main(predict_words(other, out, out)) == 2
    assert "trained on 5 classes" in capsys.readouterr().err


def test_predict_of_a_method_without_a_prior_needs_no_labels(
    corpus: Corpus, tmp_path: Path
) -> None:
    out, again = tmp_path / "model", tmp_path / "again"
    assert main(train_words(corpus, out, method="valorpp")) == 0
    corpus.labels.unlink()
    assert main(predict_words(corpus, out, again)) == 0
    file = "probabilities_test.safetensors"
    assert (out / file).read_bytes() == (again / file).read_bytes()


def test_other_thresholds_need_no_training(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert main([*train_words(corpus, out, method="valorpp"), "--fit-only"]) == 0
    trained = (out / "checkpoint.safetensors").read_bytes()
    words = [*predict_words(corpus, out, out), "--option", "segment_threshold=0.99"]
    assert main(words) == 0
    chosen = {"segment_threshold": 0.99, "video_threshold": 0.5}
    assert json.loads((out / "thresholds.json").read_text()) == chosen
    assert len((out / "predicted_test_audio.csv").read_text().splitlines()) == 1, "no event"
    assert (out / "checkpoint.safetensors").read_bytes() == trained
    assert read_checkpoint(out).recipe.segment_threshold == 0.99, "whoever reads it next"
    assert main([*predict_words(corpus, out, out), "--option", "width=64"]) == 2
    assert "'width' must be one of segment_threshold, video_threshold to" in capsys.readouterr().err
    (out / "thresholds.json").write_text('{"segment_threshold": 2}')
    with pytest.raises(PipelineError, match=r"thresholds\.json' is not made of thresholds"):
        read_checkpoint(out)
    assert main([*train_words(corpus, out, method="valorpp"), "--fit-only"]) == 0
    assert read_checkpoint(out).recipe.segment_threshold == 0.5, "a new training has its own"


def change_meta(path: Path, **changes: str) -> None:
    shard = read_shard(path)
    write_shard(path, Shard(shard.names, shard.arrays, {**shard.meta, **changes}))


def test_a_prior_made_in_another_way_is_refused(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert main([*train_words(corpus, old), "--fit-only"]) == 0
    change_meta(corpus.labels, fingerprint="0123456789")
    assert main([*train_words(corpus, new), "--fit-only"]) == 0
    assert main(predict_words(corpus, new, new)) == 0
    change_meta(corpus.labels, fingerprint="9876543210")
    assert main(predict_words(corpus, new, new)) == 2
    error = capsys.readouterr().err
    assert "trained on labels '0123456789', but got '9876543210'; run pseudo-labels" in error
    assert main(predict_words(corpus, old, old)) == 0  # it says nothing of its labels


def test_features_of_another_width_or_layout_are_one_sentence(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert main([*train_words(corpus, out, method="valorpp"), "--fit-only"]) == 0
    narrow = tmp_path / "narrow"
    checkpoint = read_checkpoint(out)
    dimensions = replace(checkpoint.dimensions, audio=512, visual=7)
    weights = registry.build_network("valorpp", dimensions, checkpoint.recipe).state_dict()
    write_checkpoint(narrow, replace(checkpoint, dimensions=dimensions, weights=weights))
    assert main(predict_words(corpus, narrow, out)) == 2
    message = "trained on features with audio 512, visual 7, but got audio 32, visual 40;"
    assert message in capsys.readouterr().err
    write_checkpoint(narrow, replace(checkpoint, fingerprints={"layout": "han"}))
    assert main(predict_words(corpus, narrow, out)) == 2
    message = "trained with --layout han, but the features have --layout shards;"
    assert message in capsys.readouterr().err


def test_checkpoint_with_an_option_that_is_no_more_is_named(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Older(LinkRecipe):
        forgotten: int = 0

    with monkeypatch.context() as patch:
        method = replace(registry.METHODS["link"], recipe=Older)
        patch.setitem(registry.METHODS, "link", method)
        assert main([*train_words(corpus, tmp_path), "--fit-only"]) == 0
    message = r"another version .*\(option of link 'forgotten' is unknown\); train again"
    with pytest.raises(PipelineError, match=message):
        read_checkpoint(tmp_path)
    with pytest.raises(PipelineError, match=message):
        read_parsers([tmp_path])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--option", "tsan=true"], "option of link 'tsan' is unknown; it must be one of"),
        (["--option", "tsam"], "must have the form KEY=VALUE"),
        (["--option", "epochs=0"], "option of link 'epochs' is '0'; it must be greater"),
        (["--option", "width=10", "--option", "heads=4"], "width 10 must be a multiple of heads 4"),
        (["--device", "tpu"], "device"),
        (["--clip", "clip-none"], "clip-none"),
    ],
)
def test_mistakes_are_one_sentence(
    corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    assert main([*train_words(corpus, tmp_path / "model"), *extra]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_killed_process_resumes_to_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ("epochs=60", "text_dropout=0.2")
    assert main(train_words(corpus, whole, *options)) == 0
    words = [*train_words(corpus, killed, *options), "--save-every", "0"]
    command = [sys.executable, "-m", "pipeline", *words]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 400
    while not (killed / "training_state.pt").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "checkpoint.safetensors").exists()
    assert main(words) == 0
    before, after = files_in(whole), files_in(killed)
    assert set(before) == {name for name in after if not name.startswith(".")}
    for name in set(before) - {"curve.csv"}:
        assert before[name] == after[name], name


@pytest.mark.parametrize(("segment", "video"), [(0.5, 0.5), (0.25, 0.45), (0.25, 0.52), (0.6, 0.3)])
def test_scores_reach_the_threshold_exactly_where_it_is_decided(segment: float, video: float):
    """Also where probabilities and gates are the thresholds, and a bit beside them."""
    recipe = recipe_for("han", {"segment_threshold": segment, "video_threshold": video})
    values = []
    for threshold in (segment, video):
        exact = np.float32(threshold)
        steps = [np.nextafter(exact, np.float32(end)) for end in (0, 1)]
        values.append(np.array([exact, *steps, 0, 1, 0.4], np.float32))
    segments, gates = np.meshgrid(*values, indexing="ij")
    probabilities = Probabilities(
        segments[:, None], segments[::-1, None], np.stack((gates, gates), axis=1)
    )
    scores = decision_scores(probabilities, recipe)
    expected = np.stack(decide(probabilities, recipe)) != 0
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(scores >= np.float32(segment), expected)
