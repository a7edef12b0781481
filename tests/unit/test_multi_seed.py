"""Several seeds in one job: the same bytes as alone, killed or not, and failures by name."""

import csv
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from simulated import Corpus, make_world, write_corpus

from pipeline.cli import main
from pipeline.core import progress
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.parsers.checkpoint import FILE, read_checkpoint
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import recipe_for
from pipeline.training import multi_seed as seeds
from pipeline.training.multi_seed import SeedFolders, SeedPlan, choose_devices, train_seeds
from pipeline.training.sources import CachedFeatures, ShardSource
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

TINY = {
    "width": 16,
    "layers": 1,
    "heads": 2,
    "feedforward": 16,
    "epochs": 4,
    "batch_size": 8,
    "warmup_epochs": 1,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"), make_world(classes=5))


@pytest.fixture
def plan(corpus: Corpus) -> SeedPlan:
    return SeedPlan(
        method="link",
        recipe=recipe_for("link", {**TINY, "text_dropout": 0.2}),
        source=ShardSource(corpus.features, corpus.labels.parent),
        annotations=corpus.annotations,
        vocabulary=read_vocabulary(corpus.vocabulary),
        save_every_seconds=0,
    )


def words(corpus: Corpus, out: Path, *more: str, **options: object) -> list[str]:
    """The command line of a small training."""
    line = ["train", "--method", "link", "--features", str(corpus.features)]
    line += ["--pseudo-labels", str(corpus.labels.parent), "--out", str(out)]
    line += ["--annotations", str(corpus.annotations), "--vocabulary", str(corpus.vocabulary)]
    for key, value in {**TINY, **options}.items():
        line += ["--option", f"{key}={value}"]
    return [*line, "--device", "cpu", *more]


def folders(out: Path, chosen: Sequence[int] = (0, 1, 2)) -> SeedFolders:
    return {seed: out / f"seed{seed}" for seed in chosen}


def results(folder: Path) -> dict[str, bytes | list[list[str]]]:
    """Every file's bytes; of the curve all but the seconds."""
    files: dict[str, bytes | list[list[str]]] = {
        path.name: path.read_bytes() for path in sorted(folder.iterdir())
    }
    with (folder / "curve.csv").open(newline="") as file:
        files["curve.csv"] = [row[:-1] for row in csv.reader(file)]
    return files


@pytest.mark.parametrize("processes", [1, 2])
def test_together_is_what_each_is_alone(
    plan: SeedPlan, processes: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    together = folders(tmp_path / "together")
    progress.configure_logging()
    train_seeds(plan, together, [CPU] * processes)
    said = capfd.readouterr().err
    assert said.count("train link seed 1") == 1
    assert ("link seed 1, epoch 2/" in said) == (processes == 1), "epochs must not interleave"
    for seed, folder in folders(tmp_path / "alone").items():
        train_seeds(plan, {seed: folder}, [CPU])
        alone = results(folder)
        assert {FILE, "curve.csv", "metrics.json"} <= set(alone)
        assert STATE_FILE not in alone
        assert results(together[seed]) == alone
        assert read_checkpoint(folder).seed == seed


def test_finished_seed_is_not_trained_again_and_the_interrupted_one_carries_on(
    plan: SeedPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_seeds(plan, folders(tmp_path / "undisturbed"), [CPU])
    trained: list[tuple[int, int]] = []
    run_epoch = Trainer.run_epoch

    def die_in_seed_1(self: Trainer, epoch: int) -> None:
        if (self.job.seed, epoch) == (1, 3) and (1, 3) not in trained:
            trained.append((1, 3))
            raise KeyboardInterrupt
        trained.append((self.job.seed, epoch))
        run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "run_epoch", die_in_seed_1)
    disturbed = folders(tmp_path / "disturbed")
    with pytest.raises(KeyboardInterrupt):
        train_seeds(plan, disturbed, [CPU])
    (disturbed[0] / FILE).unlink()  # as Snakemake does before it runs a job again
    (disturbed[0] / "curve.csv").unlink()
    trained[:] = [(1, 3)]
    train_seeds(plan, disturbed, [CPU])
    assert trained[1:] == [(1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4)]
    for seed, folder in folders(tmp_path / "undisturbed").items():
        assert results(disturbed[seed]) == results(folder)


def test_finished_seed_of_other_labels_is_trained_again(
    plan: SeedPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    run_epoch = Trainer.run_epoch

    def die_after_seed_0(self: Trainer, epoch: int) -> None:
        if self.job.seed == 1:
            raise KeyboardInterrupt
        trained.append(epoch)
        run_epoch(self, epoch)

    monkeypatch.setattr(Trainer, "run_epoch", die_after_seed_0)
    for changed in (plan, replace(plan, recipe=recipe_for("link", {**TINY, "labels": "soft"}))):
        with pytest.raises(KeyboardInterrupt):
            train_seeds(changed, folders(tmp_path), [CPU])
    assert trained == [1, 2, 3, 4] * 2


def test_killed_processes_leave_none_behind_and_a_rerun_is_as_undisturbed(
    corpus: Corpus, tmp_path: Path
) -> None:
    line = words(corpus, tmp_path / "killed", "--save-every", "0", epochs=30)
    line += ["--seeds", "0", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *line, "--processes", "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
        # As what a script starts with & does.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    states = [folder / STATE_FILE for folder in folders(tmp_path / "killed", (0, 1)).values()]
    wait_until(lambda: any(state.exists() for state in states))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    assert len(children) >= 2
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert not all((state.parent / FILE).exists() for state in states)
    assert main(line) == 0
    assert main([*line, "--out", str(tmp_path / "undisturbed")]) == 0
    for seed in ("seed0", "seed1"):
        assert results(tmp_path / "killed" / seed) == results(tmp_path / "undisturbed" / seed)


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass(frozen=True)
class Deadly:
    """A source whose first reader is killed and whose second waits for ever."""

    mark: Path

    def check_names(self, names: Sequence[str]) -> None:
        """Accept all names."""

    def read(
        self, names: Sequence[str], recipe: Recipe, vocabulary: Vocabulary, for_training: bool
    ) -> CachedFeatures:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_killed_process_stops_the_others_and_is_named(plan: SeedPlan, tmp_path: Path) -> None:
    deadly = replace(plan, source=Deadly(tmp_path / "mark"))
    with pytest.raises(PipelineError, match=r"process of seed (0, 2|1) ended with SIGKILL"):
        train_seeds(deadly, folders(tmp_path), [CPU, CPU])
    assert not active_children()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_failure_names_its_seed_in_one_sentence(
    processes: str, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = words(corpus, tmp_path, "--seeds", "0", "1", learning_rate=1e30)
    assert main([*line, "--processes", processes]) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if "error" in text]
    assert len(said) == 1
    assert re.search(r"error: the loss term '\w+' is \S+ in epoch \d of link seed [01]; ", said[0])


def test_short_memory_names_its_seed(
    plan: SeedPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(job: TrainingJob, *rest: object) -> None:
        if job.seed == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(seeds, "train", too_large)
    with pytest.raises(PipelineError, match="seed 1 does not fit into the memory of cpu"):
        train_seeds(plan, folders(tmp_path), [CPU])


def test_one_seed_lies_in_out_and_several_below_it(corpus: Corpus, tmp_path: Path) -> None:
    assert main(words(corpus, tmp_path / "one", "--seed", "3", "--fit-only")) == 0
    assert main(words(corpus, tmp_path / "many", "--seeds", "3", "--fit-only")) == 0
    assert set(results(tmp_path / "one")) == {FILE, "curve.csv"}
    assert results(tmp_path / "one") == results(tmp_path / "many" / "seed3")


def test_a_repeated_seed_is_one_sentence(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(corpus, tmp_path, "--seeds", "0", "1", "0")) == 2
    assert "must differ" in capsys.readouterr().err


def test_seeds_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_devices("cpu", 2) == [CPU, CPU]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("auto", "cuda"):
        assert [device.index for device in choose_devices(name, 3)] == [0, 1, 0]
    assert [str(device) for device in choose_devices("cuda:1", 2)] == ["cuda:1", "cuda:1"]


def test_every_line_carries_its_seed(
    plan: SeedPlan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train_seeds(plan, folders(tmp_path, (4, 7)), [CPU])
    epochs = [record.getMessage() for record in caplog.records if "epoch" in record.getMessage()]
    assert len(epochs) == 2 * (4 + 1)
    for seed, lines in ((4, epochs[:5]), (7, epochs[5:])):
        assert all(f"link seed {seed}" in line for line in lines)


def test_one_of_several_processes_draws_no_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "parent_process", object)
    monkeypatch.delattr(progress, "tqdm")
    caplog.set_level(logging.INFO)
    assert list(progress.track([1, 2], 2, "train", "epochs")) == [1, 2]
    assert "train 2/2 epochs" in caplog.text
