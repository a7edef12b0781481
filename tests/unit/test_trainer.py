"""Training: schedules, learning, determinism, resuming, and what it refuses."""

import csv
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import make_dataset, make_world

from pipeline.core.errors import PipelineError
from pipeline.evaluation.metrics import score
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.decision import decide
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.recipes import HanRecipe, Recipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training import trainer as training
from pipeline.training.dataset import TrainingData
from pipeline.training.optimisation import build_optimiser, learning_rate
from pipeline.training.results import write_curve, write_results
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

METHODS = ["han", "valorpp", "link"]
# Methods with HAN's encoder and options, whose losses can reach zero together; the others are
# learnt by heart in their own tests.
FAMILY = ["han", "valor", "valorpp", "link", "link_printed", "uwav"]
TINY: Mapping[str, object] = {
    "width": 32,
    "layers": 1,
    "heads": 2,
    "feedforward": 64,
    "epochs": 4,
    "batch_size": 16,
    "schedule": "cosine",
    "warmup_epochs": 2,
    "learning_rate": 3e-3,
}
WORLD = make_world()


def trainer(method: str, dataset: TrainingData, seed: int = 0, **changes: object) -> Trainer:
    recipe = recipe_for(method, {**TINY, **changes})
    return Trainer(TrainingJob(method, recipe, dataset, seed, torch.device("cpu")))


def trained(
    method: str, dataset: TrainingData, folder: Path, seed: int = 0, **changes: object
) -> Trainer:
    made = trainer(method, dataset, seed, **changes)
    made.run(folder / STATE_FILE)
    return made


def segment_type(dataset: TrainingData, split: str, labels: tuple[np.ndarray, np.ndarray]) -> float:
    metrics = score(*dataset.evaluated[split].truth, *labels).metrics()
    return metrics["segment"]["type"]


def result(made: Trainer, split: str = "test") -> float:
    parser = made.checkpoint().build()
    inputs = made.job.dataset.evaluated[split].inputs
    labels = decide(parse_videos(parser, inputs, made.recipe), made.recipe)
    return segment_type(made.job.dataset, split, labels)


def test_cosine_schedule_is_valors() -> None:
    recipe = Recipe()
    assert learning_rate(recipe, 1) == pytest.approx(3e-5)
    assert learning_rate(recipe, 9) == pytest.approx(2.7e-4)
    assert learning_rate(recipe, 10) == pytest.approx(3e-4)
    assert learning_rate(recipe, 35) == pytest.approx((3e-4 + 3e-6) / 2)
    assert learning_rate(recipe, 60) == pytest.approx(3e-6)


def test_step_schedule_is_hans() -> None:
    rates = [learning_rate(HanRecipe(), epoch) for epoch in (1, 10, 11, 20, 21, 40)]
    assert rates == pytest.approx([3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-7])


def test_link_spares_gates_biases_and_mu_from_decay() -> None:
    parser = build_network("link", WORLD.dimensions(), recipe_for("link", TINY))
    decayed, spared = build_optimiser(parser, recipe_for("link", TINY)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (1e-3, 0)
    assert all(weight.ndim > 1 for weight in decayed["params"])
    names = {id(weight): name for name, weight in parser.named_parameters()}
    spared_names = {names[id(weight)] for weight in spared["params"]}
    assert {"mu", "audio_cmim.alpha", "visual_cmim.beta", "projection.audio.bias"} <= spared_names
    assert sum(len(group["params"]) for group in (decayed, spared)) == len(names)


def test_valorpp_decays_everything() -> None:
    parser = build_network("valorpp", WORLD.dimensions(), recipe_for("valorpp", TINY))
    _, spared = build_optimiser(parser, recipe_for("valorpp", TINY)).param_groups
    assert spared["params"] == []


@pytest.mark.parametrize("method", METHODS)
def test_loss_falls(method: str, tmp_path: Path) -> None:
    curve = trained(method, make_dataset(WORLD), tmp_path, epochs=8).progress.curve
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]


def entropy(share: float) -> float:
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


# Mixed labels have an entropy of their own.
LEARNABLE: Mapping[str, Mapping[str, object]] = {"uwav": {"mixup": 0.0, "labels": "hard"}}


@pytest.mark.parametrize("method", FAMILY)
def test_thirty_two_videos_are_learnt_by_heart(method: str, tmp_path: Path) -> None:
    """Every term of these methods' losses can reach zero together: each video's weak label is among
    its pseudo-labels, and IoU is a positive kernel, so that cosines can equal it. Only HAN's
    smoothed visual labels (0.05, 0.95) leave their own entropy."""
    options = {"epochs": 100, "dropout": 0.0, "width": 64, "weight_decay": 0.0}
    options |= LEARNABLE.get(method, {})
    made = trained(method, make_dataset(WORLD, train=32, evaluated=4), tmp_path, **options)
    last = made.progress.curve[-1]
    floor = entropy(0.05) if method == "han" else 0.0
    assert 0 < last["loss"] - floor < 0.08, last


@pytest.mark.parametrize(
    "options", [{}, {"labels": "soft"}, {"labels": "soft", "balance": 0.5, "mixup": 1.7}]
)
def test_pseudo_label_targets_train_every_way(options: dict[str, object], tmp_path: Path) -> None:
    recipe = recipe_for("link", {**TINY, "epochs": 14, "train_prior": "masked", **options})
    dataset = make_dataset(WORLD, train=160, evaluated=60, recipe=recipe)
    made = Trainer(TrainingJob("link", recipe, dataset, 0, torch.device("cpu")))
    made.run(tmp_path / STATE_FILE)
    nothing = np.zeros_like(dataset.evaluated["test"].truth[0])
    assert result(made) > segment_type(dataset, "test", (nothing, nothing)) + 15


@pytest.mark.extended
def test_link_and_valorpp_beat_the_pseudo_labels_they_learnt_from(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD, train=240, evaluated=60, noise=2.0)
    prior = dataset.evaluated["test"].inputs
    assert prior.prior_audio is not None
    assert prior.prior_visual is not None
    labels = prior.prior_audio.numpy(), prior.prior_visual.numpy()
    baseline = segment_type(dataset, "test", labels)
    options = {"epochs": 16, "width": 64, "learning_rate": 4e-3}
    for method in ("valorpp", "link"):
        assert result(trained(method, dataset, tmp_path, **options)) > baseline + 2, method


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        made = trained("link", dataset, tmp_path, seed, text_dropout=0.2)
        write_checkpoint(tmp_path / name, made.checkpoint())
    one, same, other = (
        (tmp_path / name / "checkpoint.safetensors").read_bytes()
        for name in ("one", "same", "other")
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_killed_and_resumed_equals_uninterrupted_byte_for_byte(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(WORLD)
    whole = trained("link", dataset, tmp_path / "whole", text_dropout=0.2)
    state = tmp_path / STATE_FILE

    def die_after(self: Trainer, number: int) -> None:
        if number > epoch:
            raise KeyboardInterrupt
        run_epoch(self, number)

    run_epoch = Trainer.run_epoch
    monkeypatch.setattr(Trainer, "run_epoch", die_after)
    with pytest.raises(KeyboardInterrupt):
        trainer("link", dataset, text_dropout=0.2).run(state, save_every_seconds=0)
    monkeypatch.undo()
    resumed = trainer("link", dataset, text_dropout=0.2)
    torch.rand(7)  # whatever else draws from the global generator must not matter
    resumed.run(state, save_every_seconds=0)
    assert len(resumed.progress.curve) == 4
    for name, made in (("a", whole), ("b", resumed)):
        write_checkpoint(tmp_path / name, made.checkpoint())
    a, b = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in "ab")
    assert a == b
    without_time = [
        [{**row, "seconds": 0.0} for row in made.progress.curve] for made in (whole, resumed)
    ]
    assert without_time[0] == without_time[1]


def test_bf16_learns_alike_and_keeps_float32_weights(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD, train=160, evaluated=60)
    full, half = (
        trained("link", dataset, tmp_path, epochs=14, precision=precision)
        for precision in ("fp32", "bf16")
    )
    assert {weight.dtype for weight in half.checkpoint().weights.values()} == {torch.float32}
    assert full.progress.curve[-1]["loss"] != half.progress.curve[-1]["loss"]
    assert half.progress.curve[-1]["loss"] == pytest.approx(
        full.progress.curve[-1]["loss"], rel=0.1
    )
    assert result(half) == pytest.approx(result(full), abs=8)


def test_compiled_network_is_trained_and_saved_under_its_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []

    def remember(parser: torch.nn.Module) -> torch.nn.Module:
        compiled.append(parser)
        return parser

    monkeypatch.setattr(torch, "compile", remember)  # compiling takes half a minute
    dataset = make_dataset(WORLD)
    plain, made = (
        trained("link", dataset, tmp_path),
        trained("link", dataset, tmp_path, compiled=True),
    )
    assert compiled == [made.parser]
    assert made.progress.curve[-1]["loss"] == plain.progress.curve[-1]["loss"]


@pytest.mark.parametrize("content", [b"", b"not a state", "cut", {"other": 1}, [1]], ids=str)
def test_state_that_cannot_be_read_is_left_aside(
    content: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make_dataset(WORLD)
    state = tmp_path / STATE_FILE
    if isinstance(content, bytes):
        state.write_bytes(content)
    elif content == "cut":
        trainer("valorpp", dataset).save(state)
        state.write_bytes(state.read_bytes()[:1000])
    else:
        torch.save(content, state)
    made = trainer("valorpp", dataset)
    with caplog.at_level("INFO"):
        made.restore(state)
    assert "starting from scratch" in caplog.text
    assert made.progress.epoch == 0


@pytest.mark.extended
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_a_network_that_is_really_compiled_learns_the_same(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD, train=32, evaluated=4)
    options = {"width": 8, "dropout": 0.0, "epochs": 1, "warmup_epochs": 1}
    plain, made = (
        trained("han", dataset, tmp_path, compiled=compiled, **options).progress.curve[-1]
        for compiled in (False, True)
    )
    assert made["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert made["val_segment_type"] == plain["val_segment_type"]


def test_state_of_another_recipe_is_left_aside(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD)
    state = tmp_path / STATE_FILE
    trainer("valorpp", dataset).run(state, save_every_seconds=0)
    changed = trainer("valorpp", dataset, epochs=2)
    changed.run(state)
    assert [row["epoch"] for row in changed.progress.curve] == [1, 2]


def test_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD)
    inputs = dataset.train.inputs
    broken = replace(inputs, audio=torch.full_like(inputs.audio, torch.nan))
    spoilt = replace(dataset, train=replace(dataset.train, inputs=broken))
    with pytest.raises(PipelineError, match="loss term 'video' is nan in epoch 1"):
        trained("valorpp", spoilt, tmp_path)


@pytest.mark.parametrize(("ties", "kept"), [("first", 1), ("last", 4)])
def test_ties_go_to_the_epoch_the_recipe_says(
    ties: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = {"val_segment_type": 5.0, "val_event_type": 1.0}
    monkeypatch.setattr(Trainer, "validate", lambda self: constant)
    made = trained("valorpp", make_dataset(WORLD), tmp_path, ties=ties)
    assert made.checkpoint().epoch == kept


def test_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    made = trained("link", make_dataset(WORLD), tmp_path, encoder="after")
    written = made.checkpoint()
    write_checkpoint(tmp_path, written)
    read = read_checkpoint(tmp_path)
    assert replace(read, weights={}) == replace(written, weights={})
    inputs = made.job.dataset.evaluated["test"].inputs
    ours, theirs = (
        parse_videos(checkpoint.build(), inputs, checkpoint.recipe)
        for checkpoint in (written, read)
    )
    np.testing.assert_array_equal(ours.audio, theirs.audio)
    np.testing.assert_array_equal(ours.gate, theirs.gate)


def test_checkpoint_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, trained("valorpp", make_dataset(WORLD), tmp_path).checkpoint())
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PipelineError, match="not a valid checkpoint"):
        read_checkpoint(tmp_path)


def test_curve_has_a_column_a_term(tmp_path: Path) -> None:
    made = trained("link", make_dataset(WORLD), tmp_path)
    write_curve(tmp_path / "curve.csv", made.progress.curve)
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("epoch", "lr", "loss", "video", "audio_segment", "visual_segment", "label", "avss"),
        *("val_segment_type", "val_event_type", "seconds"),
    ]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]


def test_results_are_of_the_checkpoint(tmp_path: Path) -> None:
    dataset = make_dataset(WORLD)
    made = trained("valorpp", dataset, tmp_path, epochs=6)
    write_results(tmp_path, made.checkpoint(), dataset, torch.device("cpu"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics) == ["val", "test"]
    assert metrics["val"]["metrics"]["segment"]["type"] == pytest.approx(made.checkpoint().score)
    assert metrics["test"]["metrics"]["segment"]["type"] == pytest.approx(result(made))
    assert training.STATE_FILE not in {path.name for path in tmp_path.iterdir()}
