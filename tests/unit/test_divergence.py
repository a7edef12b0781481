"""Trainings that diverge end with one sentence, whatever the method, the phase and the step."""

from pathlib import Path

import pytest
import torch
from simulated import make_dataset, make_world, write_corpus
from small_methods import SMALL

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.labels.teacher_options import TeacherOptions
from pipeline.parsers.registry import METHODS, recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.dense_videos import DenseData, DenseVideos
from pipeline.training.teacher import TeacherJob, TeacherTrainer, train_teacher
from pipeline.training.trainer import Trainer, TrainingJob, train

WORLD = make_world(classes=3)


@pytest.fixture(scope="module")
def dataset() -> TrainingData:
    return make_dataset(WORLD, train=4, evaluated=2)


def job(method: str, dataset: TrainingData, **changed: object) -> TrainingJob:
    options = {**SMALL[method], "epochs": 1, "batch_size": 16}
    if "estimator_epochs" in type(recipe_for(method, {})).model_fields:
        options["estimator_epochs"] = 1
    recipe = recipe_for(method, options | changed)
    return TrainingJob(method, recipe, dataset, 3, torch.device("cpu"))


@pytest.mark.parametrize("method", METHODS)
def test_the_last_step_of_every_phase_is_seen(
    method: str, dataset: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is of the weights before the step, so it is finite to the end."""
    phases = Trainer(job(method, dataset)).phases
    step = Trainer._step
    for spoilt, phase in enumerate(phases):

        def last(self: Trainer, name: str, loss: torch.Tensor, spoilt: int = spoilt) -> None:
            step(self, name, loss)
            if self.progress.phase == spoilt:
                weight = next(iter(self.optimised[name].parameters()))
                weight.data.view(-1)[-1] = torch.inf if spoilt else torch.nan

        monkeypatch.setattr(Trainer, "_step", last)
        folder = tmp_path / phase.name
        with pytest.raises(PipelineError, match=r"diverged: .* not finite after epoch 1") as raised:
            train(job(method, dataset), folder)
        assert f"of {method} seed 3; lower learning_rate" in str(raised.value)
        assert len(phases) == 1 or phase.name in str(raised.value)
        assert not (folder / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("rate", ["1e15", "1e37", "inf"])
def test_a_learning_rate_that_is_far_too_high_is_one_sentence(
    rate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", WORLD, train=4, evaluated=2)
    words = ["train", "--method", "han", "--out", str(tmp_path / "out"), *corpus.words()]
    options = {**SMALL["han"], "epochs": 2, "learning_rate": rate, "clip_norm": 0}
    for key, given in (options | {"schedule": "step"}).items():
        words += ["--option", f"{key}={given}"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert "learning_rate" in said
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_a_teacher_that_diverges_in_its_last_step_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    texts = torch.from_numpy(WORLD.audio), torch.from_numpy(WORLD.visual)
    audio, visual = (torch.randn(4, each.shape[1], generator=generator) for each in texts)
    videos = DenseVideos(("a",), [audio], [visual], [torch.ones(4, WORLD.classes)])
    options = TeacherOptions(width=8, hidden=8, layers=1, heads=2, feedforward=8, epochs=1)
    data = DenseData(videos, videos, texts, ("x", "y", "z"))

    def spoil(self: torch.optim.Optimizer, closure: object = None) -> None:
        self.param_groups[0]["params"][0].data.view(-1)[0] = torch.nan

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    teacher = TeacherJob(options, data, 0, torch.device("cpu"))
    with pytest.raises(
        PipelineError, match=r"diverged: .* not finite after epoch 1 of the teacher"
    ):
        train_teacher(teacher, tmp_path)
    assert TeacherTrainer(teacher).progress.epoch == 0
    assert not list(tmp_path.glob("teacher*"))
