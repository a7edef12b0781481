"""Seeds as one batched network: what each is alone up to rounding, killed or not."""

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated import Corpus, make_dataset, make_world, write_corpus
from small_methods import SMALL
from torch import nn
from torch.func import vmap

from pipeline.cli import main
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.parsers.checkpoint import FILE, read_checkpoint
from pipeline.parsers.registry import METHODS, build_plan, recipe_for
from pipeline.training import multi_seed
from pipeline.training.batched_seeds import BatchedTrainer, clip_each, refusal
from pipeline.training.multi_seed import SeedPlan, train_seeds
from pipeline.training.seed_draws import SeedDraws
from pipeline.training.sources import ShardSource
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

CPU = torch.device("cpu")
WORLD = make_world(classes=5)
# 20 videos: two full batches and a partial one.
SHORT = {"epochs": 2, "batch_size": 8, "warmup_epochs": 1}
BATCHED = [
    "han",
    "leap",
    "leap_han",
    "link",
    "link_printed",
    "mm_cse",
    "mm_pyramid",
    "valor",
    "valor_plus",
    "valorpp",
]


def jobs_of(method: str, seeds: Sequence[int] = (0, 1, 4), **options: object) -> list[TrainingJob]:
    recipe = recipe_for(method, {**SMALL[method], **SHORT, **options})
    dataset = make_dataset(WORLD, 20, 8, recipe=recipe)
    return [TrainingJob(method, recipe, dataset, seed, CPU) for seed in seeds]


def refusal_of(method: str, **options: object) -> str | None:
    job = jobs_of(method, **options)[0]
    return refusal(build_plan(method, job.dataset.dimensions, job.recipe))


def weights_apart(one: Trainer, other: Trainer) -> float:
    states = [trainer.plan.state_dict() for trainer in (one, other)]
    return max(float((each - states[1][name]).abs().max()) for name, each in states[0].items())


def test_methods_whose_seeds_can_be_one_network():
    assert sorted(name for name in METHODS if refusal_of(name) is None) == BATCHED


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "bf16"}, "bf16"),
        ({"recombined": 0.5}, "recombined"),
        ({"compiled": True}, "compiled is true"),
        ({"mixup": 1.7}, "random numbers on the CPU"),
    ],
)
def test_options_that_keep_seeds_apart(options, reason):
    assert reason in str(refusal_of("link", **options))


@pytest.fixture
def doubles() -> Iterator[None]:
    """Compute in float64: Adam turns rounding of a gradient that should be 0 into whole steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def in_float64(job: TrainingJob) -> TrainingJob:
    def doubled(batch: Any) -> Any:
        return replace(batch, **{name: each.double() for name, each in batch.tensors().items()})

    train, val = job.dataset.train, job.dataset.evaluated["val"]
    dataset = replace(
        job.dataset,
        train=replace(train, inputs=doubled(train.inputs), targets=doubled(train.targets)),
        evaluated={"val": replace(val, inputs=doubled(val.inputs))},
    )
    return replace(job, dataset=dataset)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("method", BATCHED)
def test_each_seed_is_what_it_is_alone(method: str, tmp_path: Path):
    """With the recipe's dropout, whose other draws would change the loss by percents."""
    jobs = [in_float64(job) for job in jobs_of(method)]
    batched = BatchedTrainer(jobs)
    batched.run(tmp_path / STATE_FILE)
    for job, trainer in zip(jobs, batched.trainers, strict=True):
        alone = Trainer(job)
        alone.run(tmp_path / f"{job.seed}.pt")
        assert weights_apart(alone, trainer) < 1e-9
        for one, other in zip(alone.progress.curve, trainer.progress.curve, strict=True):
            assert list(one) == list(other)
            assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-9)
        assert trainer.progress.best_epoch == alone.progress.best_epoch


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_scalars_and_vectors_of_seeds_decay_as_alone(decay: str, tmp_path: Path):
    options = {"weight_decay": 1, "learning_rate": 0.01, "decay": decay}
    jobs = [in_float64(job) for job in jobs_of("link", **options)]
    batched = BatchedTrainer(jobs)
    batched.run(tmp_path / STATE_FILE)
    alone = Trainer(jobs[1])
    alone.run(tmp_path / "alone.pt")
    assert weights_apart(alone, batched.trainers[1]) < 1e-9


def test_losses_in_float32_are_those_alone_up_to_rounding(tmp_path: Path):
    batched = BatchedTrainer(jobs_of("link", epochs=4))
    batched.run(tmp_path / STATE_FILE)
    for job, trainer in zip(jobs_of("link", epochs=4), batched.trainers, strict=True):
        alone = Trainer(job)
        alone.run(tmp_path / f"{job.seed}.pt")
        for one, other in zip(alone.progress.curve, trainer.progress.curve, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_interrupted_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch):
    undisturbed, killed = (BatchedTrainer(jobs_of("link", epochs=4)) for _ in range(2))
    undisturbed.run(tmp_path / "undisturbed.pt")
    run_epoch = BatchedTrainer.run_epoch

    def die_in_epoch_3(self: BatchedTrainer, epoch: int) -> None:
        if epoch == 3:
            raise KeyboardInterrupt
        run_epoch(self, epoch)

    monkeypatch.setattr(BatchedTrainer, "run_epoch", die_in_epoch_3)
    with pytest.raises(KeyboardInterrupt):
        killed.run(tmp_path / STATE_FILE, save_every_seconds=0)
    monkeypatch.undo()
    resumed = BatchedTrainer(jobs_of("link", epochs=4))
    torch.manual_seed(99)
    resumed.run(tmp_path / STATE_FILE)
    for one, other in zip(undisturbed.trainers, resumed.trainers, strict=True):
        assert weights_apart(one, other) == 0
        assert [row["loss"] for row in one.progress.curve] == [
            row["loss"] for row in other.progress.curve
        ]


def test_a_finished_state_trains_nothing_and_another_recipes_is_ignored(tmp_path, monkeypatch):
    first = BatchedTrainer(jobs_of("valorpp"))
    first.run(tmp_path / STATE_FILE)
    first.save(tmp_path / STATE_FILE)
    trained: list[int] = []
    run_epoch = BatchedTrainer.run_epoch

    def counted(self: BatchedTrainer, epoch: int) -> None:
        trained.append(epoch)
        run_epoch(self, epoch)

    monkeypatch.setattr(BatchedTrainer, "run_epoch", counted)
    again = BatchedTrainer(jobs_of("valorpp"))
    again.run(tmp_path / STATE_FILE)
    assert not trained
    for one, other in zip(first.trainers, again.trainers, strict=True):
        assert weights_apart(one, other) == 0
        assert one.progress.curve == other.progress.curve
    BatchedTrainer(jobs_of("valorpp", seeds=(0, 1))).run(tmp_path / STATE_FILE)
    assert trained == [1, 2]


def test_seeds_draw_from_their_own_generators():
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 8)]
    attention = nn.MultiheadAttention(8, 2, 0.5, batch_first=True)
    videos = torch.randn(2, 4, 6, 8)

    def drawn(each: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dropped = nn.functional.dropout(each, 0.25)
        attended, weights = attention(each, each, each)
        return dropped, attended, weights, torch.rand_like(each[:, :1, :1])

    with SeedDraws(generators):
        together = vmap(drawn)(videos)
    for row, seed in enumerate((3, 8)):
        torch.manual_seed(seed)
        for alone, found in zip(drawn(videos[row]), together, strict=True):
            assert alone.std() > 0
            torch.testing.assert_close(found[row], alone, rtol=0, atol=1e-6)


def test_other_draws_are_refused():
    with SeedDraws([torch.Generator()] * 2), pytest.raises(RuntimeError, match="random"):
        vmap(lambda each: each + torch.randn(3))(torch.zeros(2, 3))
    with SeedDraws([torch.Generator()] * 2), pytest.raises(RuntimeError, match="depend on"):
        vmap(lambda each: each + nn.functional.dropout(torch.ones(3)))(torch.zeros(2, 3))


def test_gradients_are_clipped_seed_by_seed():
    weights = [torch.zeros(3, 4, 2, requires_grad=True), torch.zeros(3, requires_grad=True)]
    for weight in weights:
        weight.grad = torch.randn_like(weight) * torch.tensor([0.01, 1, 9]).view(
            -1, *[1] * (weight.ndim - 1)
        )
    expected = []
    for seed in range(3):
        own = [torch.zeros_like(weight[seed]).requires_grad_() for weight in weights]
        for each, weight in zip(own, weights, strict=True):
            each.grad = weight.grad[seed].clone()
        nn.utils.clip_grad_norm_(own, 1.0)
        expected.append([each.grad for each in own])
    clip_each(weights, 1.0)
    for seed in range(3):
        for weight, each in zip(weights, expected[seed], strict=True):
            torch.testing.assert_close(weight.grad[seed], each)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"), make_world(classes=5))


def plan_of(corpus: Corpus, method: str, batched: bool = True, **options: object) -> SeedPlan:
    return SeedPlan(
        method=method,
        recipe=recipe_for(method, {**SMALL[method], **SHORT, **options}),
        source=ShardSource(corpus.features, corpus.labels.parent),
        annotations=corpus.annotations,
        vocabulary=read_vocabulary(corpus.vocabulary),
        save_every_seconds=0,
        batched=batched,
    )


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_seed_has_its_files(corpus: Corpus, tmp_path: Path, processes: int):
    folders = {seed: tmp_path / f"seed{seed}" for seed in (0, 1, 2, 3)}
    train_seeds(plan_of(corpus, "link"), folders, [CPU] * processes)
    for seed, folder in folders.items():
        assert {FILE, "curve.csv", "metrics.json"} <= {path.name for path in folder.iterdir()}
        assert not (folder / STATE_FILE).exists()
        checkpoint = read_checkpoint(folder)
        assert (checkpoint.seed, len(rows_of(folder))) == (seed, 1 + 2)
    assert len({(folder / FILE).read_bytes() for folder in folders.values()}) == 4


def test_what_cannot_be_batched_is_said_and_trained_in_turn(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    for batched in (True, False):
        folders = {seed: tmp_path / f"{batched}" / f"seed{seed}" for seed in (0, 1)}
        train_seeds(plan_of(corpus, "mgn", batched), folders, [CPU])
    said = [each.getMessage() for each in caplog.records if "after the other" in each.getMessage()]
    assert said == [
        "the seeds of mgn are trained one after the other: a layer of its network cannot be batched"
    ]
    for seed in ("seed0", "seed1"):
        files = [(tmp_path / f"{batched}" / seed / FILE).read_bytes() for batched in (True, False)]
        assert files[0] == files[1]


def test_the_seed_that_diverges_is_named(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    line = ["train", "--method", "link", "--features", str(corpus.features), "--batch-seeds"]
    line += ["--pseudo-labels", str(corpus.labels.parent), "--out", str(tmp_path)]
    line += ["--annotations", str(corpus.annotations), "--vocabulary", str(corpus.vocabulary)]
    for key, value in {**SMALL["link"], **SHORT, "learning_rate": 1e30}.items():
        line += ["--option", f"{key}={value}"]
    assert main([*line, "--device", "cpu", "--seeds", "0", "1"]) == 2
    said = [text for text in capsys.readouterr().err.splitlines() if "error" in text]
    assert len(said) == 1
    assert re.search(r"error: the loss term '\w+' is \S+ in epoch \d of link seed [01]; ", said[0])


@pytest.mark.parametrize("words", [["--seed", "3"], ["--seeds", "0", "1", "--processes", "2"]])
def test_seeds_that_are_alone_cannot_be_batched(words: list[str], tmp_path: Path, capsys):
    line = ["train", "--method", "link", "--features", str(tmp_path), "--out", str(tmp_path)]
    line += ["--pseudo-labels", str(tmp_path), "--annotations", str(tmp_path), "--batch-seeds"]
    assert main([*line, *words]) == 2
    assert "--batch-seeds needs several --seeds in each process" in capsys.readouterr().err


def test_short_memory_is_said(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def too_large(self: BatchedTrainer, *rest: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(multi_seed.BatchedTrainer, "run", too_large)
    folders = {seed: tmp_path / str(seed) for seed in (0, 1)}
    with pytest.raises(PipelineError, match="2 seeds as one network do not fit into the memory"):
        train_seeds(plan_of(corpus, "link"), folders, [CPU])
