"""CoLeaF and CoLeaF+ trained on simulated videos."""

import math
from pathlib import Path

import pytest
import torch
from simulated import make_dataset, make_world

from pipeline.evaluation.metrics import score_only
from pipeline.parsers.decision import decide
from pipeline.parsers.registry import recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

TINY: dict[str, object] = {
    "width": 32,
    "feedforward": 32,
    "batch_size": 32,
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "warmup_epochs": 2,
    "estimator_epochs": 1,
}
WITHOUT_DROPOUT = {"dropout": 0.0, "visual_dropout": 0.0, "reference_dropout": 0.0}


def trainer(method: str, dataset: TrainingData, **changes: object) -> Trainer:
    recipe = recipe_for(method, {**TINY, **changes})
    return Trainer(TrainingJob(method, recipe, dataset, 0, torch.device("cpu")))


@pytest.mark.parametrize("method", ["coleaf", "coleaf_plus"])
def test_labels_of_thirty_two_videos_are_learnt_by_heart(method: str, tmp_path: Path) -> None:
    """The losses of labels reach their floors, as long as none is removed; smoothed visual labels
    (0.05, 0.95) leave their own entropy."""
    options = {"epochs": 40, "width": 64, "denoised_from": 1000, **WITHOUT_DROPOUT}
    made = trainer(method, make_dataset(make_world(), train=32, evaluated=4), **options)
    made.run(tmp_path / STATE_FILE)
    last = made.progress.curve[-1]
    floor = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    assert 0 < last["audio_video"] < 0.06
    assert 0 < last["visual_video"] - floor < 0.03
    assert 0 < last["audio_reference"] < 2  # a sum over 32 videos and 8 classes
    assert "val_only" in last


def test_only_is_the_mean_of_ten_metrics_of_single_modalities() -> None:
    made = trainer("coleaf", make_dataset(make_world(), train=8, evaluated=12), width=8)
    labels = decide(made.validation.parse(made.parser), made.recipe)
    metrics = score_only(*made.validation.truth, *labels).metrics()
    expected = sum(sum(level.values()) for level in metrics.values()) / 10
    scores = made.validation.scores(made.parser, "only")
    assert scores["val_only"] == pytest.approx(expected)
    assert scores["val_only"] != pytest.approx(
        made.validation.scores(made.parser, "all")["val_all"]
    )


def test_references_train_in_bfloat16_too(tmp_path: Path) -> None:
    options = {"precision": "bf16", "epochs": 2, "width": 8}
    made = trainer("coleaf_plus", make_dataset(make_world(), train=8, evaluated=4), **options)
    made.run(tmp_path / STATE_FILE)
    assert all(math.isfinite(value) for value in made.progress.curve[-1].values())


@pytest.mark.parametrize("phase", [0, 1])
def test_a_run_killed_in_any_phase_resumes_bit_for_bit(
    phase: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(make_world(), train=40, evaluated=4)
    options = {"epochs": 3, "estimator_epochs": 3}
    whole = trainer("coleaf", dataset, **options)
    whole.run(tmp_path / "whole")
    run_epoch = Trainer.run_epoch

    def die(self: Trainer, number: int) -> None:
        if self.progress.phase == phase and number == 3:
            raise KeyboardInterrupt
        run_epoch(self, number)

    monkeypatch.setattr(Trainer, "run_epoch", die)
    with pytest.raises(KeyboardInterrupt):
        trainer("coleaf", dataset, **options).run(tmp_path / "state", save_every_seconds=0)
    monkeypatch.undo()
    resumed = trainer("coleaf", dataset, **options)
    torch.rand(7)  # whatever else draws from the global generator must not matter
    resumed.run(tmp_path / "state", save_every_seconds=0)
    assert len(resumed.progress.curve) == 6
    for name, value in whole.plan.state_dict().items():
        torch.testing.assert_close(resumed.plan.state_dict()[name], value, rtol=0, atol=0)
