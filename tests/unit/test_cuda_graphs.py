"""Which steps can become CUDA graphs, as far as a CPU can tell; tests/gpu captures them."""

import logging
from pathlib import Path

import pytest
import torch
from simulated import make_dataset, make_world
from small_methods import SMALL as SIZES
from torch import Tensor

from pipeline.parsers.plan import Batch
from pipeline.parsers.registry import METHODS, build_plan, recipe_for
from pipeline.training.optimisation import build_optimiser, set_learning_rate
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

CAPTURED = [
    "dgsct_temporal",
    "han",
    "leap",
    "leap_han",
    "link",
    "link_printed",
    "mgn",
    "mm_cse",
    "mm_pyramid",
    "valor",
    "valor_plus",
    "valorpp",
]
WORLD = make_world(classes=5)
TINY = {"width": 32, "layers": 1, "heads": 2, "feedforward": 32, "epochs": 2, "batch_size": 16}


def plan_of(method: str, **options: object):
    recipe = recipe_for(method, {**SIZES[method], **options})
    dataset = make_dataset(WORLD, 20, 8)
    return build_plan(method, dataset.dimensions, recipe), dataset


def test_methods_whose_steps_can_be_captured():
    assert sorted(name for name in METHODS if plan_of(name)[0].can_be_captured) == CAPTURED


@pytest.mark.parametrize("options", [{"mixup": 1.7}, {"compiled": True}])
def test_options_that_cannot_be_captured(options):
    assert not plan_of("valorpp", **options)[0].can_be_captured


@pytest.mark.parametrize("method", CAPTURED)
def test_captured_steps_read_nothing_back_and_draw_nothing_on_the_cpu(method):
    """Tensors without values, on ``meta``, raise where a value is read or a shape depends on it."""
    plan, dataset = plan_of(method)
    meta = torch.device("meta")
    plan = plan.to(meta).train()
    train = dataset.train
    rows = torch.arange(16, device=meta)
    batch = Batch(train.inputs.to(meta).take(rows), train.targets.to(meta).take(rows), 1, 0)
    before = torch.get_rng_state()
    # What the plan's step does, but for autocast, which knows no `meta`.
    output = plan.parser(batch.inputs).float()
    loss = torch.stack(list(plan.parser.loss_terms(output, batch.targets).values())).sum()
    assert loss.device == meta
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


class Eager:
    """What stands in for a captured step: the same step, from a buffer of rows."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.names: list[str] = []

    def __call__(self, rows: Tensor) -> Tensor:
        terms = self.trainer._train_on_rows(rows, 0, 0)
        self.names[:] = terms
        return torch.stack(list(terms.values()))


def test_an_epoch_of_replays_and_a_partial_batch_is_an_epoch(tmp_path: Path, monkeypatch):
    recipe = recipe_for("valorpp", TINY)
    dataset = make_dataset(WORLD, 40, 8)
    job = TrainingJob("valorpp", recipe, dataset, 0, torch.device("cpu"))
    plain, replayed = Trainer(job), Trainer(job)
    plain.run(tmp_path / "plain" / STATE_FILE)
    replayed = Trainer(job)
    fake, sizes = Eager(replayed), []

    def captured_for(rows: Tensor) -> Eager | None:
        sizes.append(len(rows))
        return fake if len(rows) == recipe.batch_size else None

    monkeypatch.setattr(replayed, "_captured_for", captured_for)
    replayed.run(tmp_path / "replayed" / STATE_FILE)
    assert sizes == [16, 16, 8] * 2
    curves = [[{**row, "seconds": 0} for row in each.progress.curve] for each in (plain, replayed)]
    assert curves[0] == curves[1]


def test_no_graph_on_a_cpu(caplog):
    recipe = recipe_for("uwav", TINY)
    dataset = make_dataset(WORLD, 20, 8)
    with caplog.at_level(logging.INFO):
        trainer = Trainer(TrainingJob("uwav", recipe, dataset, 0, torch.device("cpu")))
    assert trainer._captured_for(torch.arange(16)) is None
    assert "CUDA" not in caplog.text


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_a_rate_that_is_a_tensor_is_set_in_place(decay):
    """CUDA graphs read it there; Adam on a CPU takes one that is a tensor too, if not counted."""
    layer = torch.nn.Linear(2, 2)
    recipe = recipe_for("link", {"decay": decay})
    optimiser = build_optimiser(layer, recipe, torch.device("cpu"))
    places = [group["lr"] for group in optimiser.param_groups]
    set_learning_rate(optimiser, 0.25)
    assert all(group["capturable"] for group in optimiser.param_groups)
    assert [group["lr"] for group in optimiser.param_groups] == places
    assert all(float(place) == 0.25 for place in places)
