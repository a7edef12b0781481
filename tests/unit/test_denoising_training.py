"""JoMoLD and CMPAE trained on small simulated worlds: they learn, and resume in every stage."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import make_dataset, make_world

from pipeline.evaluation.metrics import score
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.cmpae import Cmpae
from pipeline.parsers.decision import decide
from pipeline.parsers.denoising_plan import DenoisingPlan
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.registry import recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

METHODS = ["jomold", "cmpae"]
WORLD = make_world()
TINY: Mapping[str, object] = {
    **{"width": 16, "feedforward": 16, "batch_size": 16, "epochs": 3, "estimator_epochs": 2},
    "learning_rate": 3e-3,
}


def trainer(method: str, dataset: TrainingData, **changes: object) -> Trainer:
    own = {"threshold_epoch": 2} if method == "cmpae" else {}
    recipe = recipe_for(method, {**TINY, **own, **changes})
    return Trainer(TrainingJob(method, recipe, dataset, 0, torch.device("cpu")))


# Without what keeps a loss from 0: smoothed labels, the contrastive loss, removed labels, dropout.
BY_HEART: Mapping[str, object] = {
    **{"visual_certainty": 1.0, "nce_weight": 0.0, "denoised_from": 1000},
    **{"dropout": 0.0, "visual_dropout": 0.0, "estimator_epochs": 1, "step_epochs": 15},
    **{"epochs": 40, "learning_rate": 1e-2, "width": 64, "feedforward": 64},
}


@pytest.mark.parametrize(("method", "reached"), [("jomold", 0.08), ("cmpae", 0.2)])
def test_thirty_two_videos_are_learnt_by_heart(method: str, reached: float, tmp_path: Path) -> None:
    """CMPAE's global branch sees one segment at a time, and the exchange keeps its dropout."""
    made = trainer(method, make_dataset(WORLD, train=32, evaluated=4), **BY_HEART)
    made.run(tmp_path / STATE_FILE)
    first, last = made.progress.curve[1], made.progress.curve[-1]
    assert first["loss"] > 1.5
    assert 0 < last["loss"] < reached, last


@pytest.mark.parametrize("method", METHODS)
def test_both_learn_what_an_empty_prediction_lacks(method: str, tmp_path: Path) -> None:
    dataset = make_dataset(WORLD, train=128, evaluated=40)
    options = {"epochs": 14, "estimator_epochs": 6, "width": 32, "learning_rate": 6e-3}
    made = trainer(method, dataset, **options)
    made.run(tmp_path / STATE_FILE)
    assert isinstance(made.plan, DenoisingPlan)
    assert (made.plan.ratios > 0).any()
    test = dataset.evaluated["test"]
    parser = made.checkpoint().build()
    predicted = decide(parse_videos(parser, test.inputs, made.recipe), made.recipe)
    nothing = np.zeros_like(test.truth[0])
    found, empty = (
        score(*test.truth, *labels).metrics()["segment"]["type"]
        for labels in (predicted, (nothing, nothing))
    )
    assert found > empty + 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stopped_after", [1, 2, 4])
def test_killed_in_any_stage_it_resumes_byte_for_byte(
    method: str, stopped_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of the estimator, then three of the parser."""
    dataset = make_dataset(WORLD, evaluated=8)
    whole = trainer(method, dataset)
    whole.run(tmp_path / "whole")
    run_epoch, runs = Trainer.run_epoch, 0

    def die(self: Trainer, epoch: int) -> None:
        nonlocal runs
        if runs == stopped_after:
            raise KeyboardInterrupt
        runs += 1
        run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "run_epoch", die)
    with pytest.raises(KeyboardInterrupt):
        trainer(method, dataset).run(tmp_path / STATE_FILE, save_every_seconds=0)
    monkeypatch.undo()
    resumed = trainer(method, dataset)
    torch.rand(7)
    resumed.run(tmp_path / STATE_FILE)
    for name, made in (("a", whole), ("b", resumed)):
        write_checkpoint(tmp_path / name, made.checkpoint())
    one, other = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in "ab")
    assert one == other
    assert len(resumed.progress.curve) == 5
    for row, again in zip(whole.progress.curve, resumed.progress.curve, strict=True):
        assert {**row, "seconds": 0} == {**again, "seconds": 0}
    for name, value in whole.plan.state_dict().items():
        assert torch.equal(value, resumed.plan.state_dict()[name]), name


def test_both_stages_of_jomold_see_the_same_batches(tmp_path: Path) -> None:
    """Each is a program of its own with the same seed in the released code."""
    made = trainer("jomold", make_dataset(WORLD, evaluated=4), epochs=1, estimator_epochs=1)
    orders = []
    pass_over = made.pass_over_videos

    def remembered(epoch: int) -> dict[str, float]:
        orders.append(made.shuffling.get_state())
        return pass_over(epoch)

    made.pass_over_videos = remembered  # type: ignore[method-assign]
    made.run(tmp_path / STATE_FILE)
    assert len(orders) == 2
    assert torch.equal(*orders)


def test_thresholds_travel_with_the_checkpoint(tmp_path: Path) -> None:
    made = trainer("cmpae", make_dataset(WORLD, train=64))
    made.run(tmp_path / STATE_FILE)
    write_checkpoint(tmp_path, made.checkpoint())
    parser = read_checkpoint(tmp_path).build()
    assert isinstance(parser, Cmpae)
    assert isinstance(made.parser, Cmpae)
    thresholds = parser.visual_thresholds
    assert thresholds.tolist() == made.parser.visual_thresholds.tolist()
    assert thresholds.dtype == torch.float64
    assert set(thresholds.tolist()) - {0.45}
