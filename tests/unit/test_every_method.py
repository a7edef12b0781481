"""What holds for every method: it trains from every source, resumes in every phase and parses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip
from parse_runs import T, write_run
from simulated import Corpus, make_dataset, make_world, write_corpus
from small_methods import SMALL

from pipeline.cli import main
from pipeline.inference.parser import load_parser
from pipeline.parsers.checkpoint import read_checkpoint, write_checkpoint
from pipeline.parsers.registry import METHODS, recipe_for
from pipeline.training.dataset import TrainingData
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

WORLD = make_world(classes=5)


def test_none_is_left_out() -> None:
    assert set(SMALL) == set(METHODS)


@pytest.fixture(scope="module")
def dataset() -> TrainingData:
    return make_dataset(WORLD, train=20, evaluated=6)


def trainer(method: str, dataset: TrainingData) -> Trainer:
    recipe = recipe_for(method, {**SMALL[method], "epochs": 2, "batch_size": 8})
    return Trainer(TrainingJob(method, recipe, dataset, 3, torch.device("cpu")))


@pytest.mark.parametrize("method", METHODS)
def test_killed_after_every_epoch_of_every_phase_it_comes_to_the_same_bytes(
    method: str, dataset: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(method, dataset)
    whole.run(tmp_path / "whole.pt")
    run_epoch, done = Trainer.run_epoch, []

    def one_epoch(self: Trainer, epoch: int) -> None:
        if done:
            raise KeyboardInterrupt
        run_epoch(self, epoch)
        done.append(epoch)

    monkeypatch.setattr(Trainer, "run_epoch", one_epoch)
    state = tmp_path / STATE_FILE
    for _ in range(sum(phase.epochs for phase in whole.phases) + 1):
        done.clear()
        torch.rand(7)  # whatever else draws from the global generator must not matter
        resumed = trainer(method, dataset)
        try:
            resumed.run(state, save_every_seconds=0)
        except KeyboardInterrupt:
            continue
        break
    assert resumed.progress.phase == len(resumed.phases)
    for name, made in (("whole", whole), ("resumed", resumed)):
        write_checkpoint(tmp_path / name, made.checkpoint())
    ours, theirs = (
        (tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("whole", "resumed")
    )
    assert ours == theirs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"), WORLD)


def train_words(method: str, out: Path, corpus: Corpus) -> list[str]:
    words = ["train", "--method", method, "--out", str(out), *corpus.words()]
    for key, value in {**SMALL[method], "epochs": 1, "batch_size": 16}.items():
        words += ["--option", f"{key}={value}"]
    return words


@pytest.mark.extended
@pytest.mark.parametrize("method", METHODS)
def test_trained_from_shards_it_predicts_the_same_from_its_checkpoint(
    method: str, corpus: Corpus, tmp_path: Path
) -> None:
    assert main(train_words(method, tmp_path / "whole", corpus)) == 0
    assert main([*train_words(method, tmp_path / "fit", corpus), "--fit-only"]) == 0
    words = ["predict", "--checkpoint", str(tmp_path / "fit"), "--out", str(tmp_path / "fit")]
    assert main([*words, "--split", "test", *corpus.words()]) == 0
    for modality in ("audio", "visual"):
        name = f"predicted_test_{modality}.csv"
        assert (tmp_path / "fit" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert read_checkpoint(tmp_path / "fit").method == method


@pytest.mark.extended
@pytest.mark.parametrize("method", METHODS)
def test_it_parses_a_new_video(method: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", method, **SMALL[method])
    parser = load_parser(folder / f"results/models/{method}/seed0", device="cpu")
    parsed = parser.parse(write_clip(tmp_path / "clip.mp4", seconds=T + 1))
    for modality in ("audio", "visual"):
        probabilities = parsed.probabilities[modality]
        assert probabilities.shape == (T + 1, 2)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        assert np.ptp(probabilities) > 0


@pytest.mark.extended
@pytest.mark.parametrize("layout", ["valor", "han", "uwav"])
@pytest.mark.parametrize("method", METHODS)
def test_it_trains_from_released_layouts(
    method: str, layout: str, corpus: Corpus, tmp_path: Path
) -> None:
    folder = write_layout(tmp_path / layout, layout, corpus)
    words = train_words(method, tmp_path / "out", corpus)
    words[words.index("--features") + 1] = str(folder)
    assert main([*words, "--layout", layout, "--clap-logit-scale", "20"]) == 0
    assert read_checkpoint(tmp_path / "out").fingerprints["layout"] == layout
