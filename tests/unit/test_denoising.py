"""Label denoising against loops over videos and classes, and the plan that JoMoLD, CMPAE and CoLeaF
train by."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simulated import make_vocabulary
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import Vocabulary, read_vocabulary
from pipeline.parsers import denoising_plan
from pipeline.parsers.denoising import denoised_labels, noise_ratios, removed_labels
from pipeline.parsers.denoising_plan import ESTIMATOR, DenoisingPlan
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.llp_numbers import LLP_CLASSES, NOISE_RATIOS, VISUAL_THRESHOLDS
from pipeline.parsers.losses import segment_nce
from pipeline.parsers.plan import Batch
from pipeline.parsers.recipes import CmpaeRecipe, JomoldRecipe
from pipeline.parsers.registry import build_plan, recipe_for
from pipeline.training.dataset import read_training_data
from pipeline.training.sources import ShardSource

SMALL: Mapping[str, object] = {"width": 8, "feedforward": 8}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weak_labels(videos: int, classes: int, seed: int = 7) -> Tensor:
    return (drawn(videos, classes, seed=seed) < 0.5).double()


def test_ratio_is_the_share_of_labels_with_a_low_probability() -> None:
    probabilities, weak = drawn(40, 2, 6), weak_labels(40, 6)
    weak[:, 5] = 0
    ratios = noise_ratios(probabilities, weak, (0.6, 1.8), (1.0, 0.9))
    for modality, (threshold, label) in enumerate(((0.6, 1.0), (1.8, 0.95))):
        for c in range(6):
            mean = sum(float(probabilities[n, modality, c]) for n in range(40)) / 40
            labelled = [n for n in range(40) if weak[n, c] == 1]
            wrong = [
                n for n in labelled if probabilities[n, modality, c] * label / mean < threshold
            ]
            expected = len(wrong) / len(labelled) if labelled else 0.0
            assert ratios[modality, c].item() == expected
    assert ratios.dtype == torch.float64
    assert (ratios[:, :5] > 0).all()
    assert (ratios[:, :5] < 1).sum() > 8


def slowly_removed(losses: Tensor, weak: Tensor, ratios: Tensor) -> Tensor:
    removed = torch.zeros(losses.shape, dtype=torch.bool)
    for c in range(weak.shape[1]):
        labelled = [b for b in range(len(weak)) if weak[b, c] > 0.5]
        of_class = losses[:, :, c].tolist()
        ascending = [sorted(labelled, key=[row[m] for row in of_class].__getitem__) for m in (0, 1)]
        for modality in (0, 1):
            k = int(float(ratios[modality, c]) * len(labelled))
            largest = ascending[modality][len(labelled) - k :]
            smallest = ascending[1 - modality][:k]
            for b in set(largest) & set(smallest):
                removed[b, modality, c] = True
    return removed


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_fit_one_modality_and_not_the_other_are_removed(seed: int) -> None:
    losses, weak = drawn(48, 2, 7, seed=seed), weak_labels(48, 7, seed)
    ratios = drawn(2, 7, seed=seed + 1)
    removed = removed_labels(losses, weak, ratios)
    assert removed.any(dim=0).sum() > 5
    torch.testing.assert_close(removed, slowly_removed(losses, weak, ratios))


def test_ratio_0_removes_nothing_and_1_everything() -> None:
    losses, weak = drawn(16, 2, 4), weak_labels(16, 4)
    assert not removed_labels(losses, weak, torch.zeros(2, 4).double()).any()
    every = removed_labels(losses, weak, torch.ones(2, 4).double())
    torch.testing.assert_close(every, (weak > 0.5)[:, None].expand(16, 2, 4))
    same = torch.ones(16, 2, 4).double()
    torch.testing.assert_close(removed_labels(same, weak, torch.ones(2, 4).double()), every)


def test_removed_number_is_truncated_in_float64() -> None:
    """0.29 · 100 is 28.999999999999996 in float64, but 29 in float32."""
    ascending = torch.arange(100).double()
    losses = torch.stack((ascending, -ascending), dim=1)[:, :, None]
    weak = torch.ones(100, 1)
    ratios = torch.tensor([[0.29], [0.0]], dtype=torch.float64)
    assert removed_labels(losses.float(), weak, ratios)[:, 0].sum() == 28
    few = removed_labels(losses[:3], weak[:3], ratios)  # fewer than 1 / 0.29 positives
    assert not few.any()


def test_removed_labels_are_0_and_others_stay_smoothed() -> None:
    probabilities, weak = drawn(30, 2, 5), weak_labels(30, 5)
    labels = torch.stack((weak, 0.9 * weak + 0.05), dim=1)
    ratios = torch.full((2, 5), 0.6, dtype=torch.float64)
    losses = torch.zeros(30, 2, 5).double()
    for b in range(30):
        for m in range(2):
            for c in range(5):
                p, y = float(probabilities[b, m, c]), float(labels[b, m, c])
                losses[b, m, c] = -(y * math.log(p) + (1 - y) * math.log(1 - p))
    removed = slowly_removed(losses, weak, ratios)
    found = denoised_labels(probabilities, labels, weak, ratios)
    assert removed[:, 0].any()
    assert removed[:, 1].any()
    torch.testing.assert_close(found, torch.where(removed, 0.0, labels), rtol=0, atol=0)


def test_contrastive_loss_is_smoothed_inside_the_logarithm() -> None:
    queries, keys = drawn(3, 4, 6) - 0.5, drawn(3, 4, 6, seed=1) - 0.5
    costs = np.zeros((3, 4))
    for b in range(3):
        for i in range(4):
            q = queries[b, i].numpy()
            cosines = [q @ k / np.linalg.norm(q) / np.linalg.norm(k) for k in keys[b].numpy()]
            powers = np.exp(np.array(cosines) / 0.2)
            shares = powers / powers.sum()
            others = sum(shares[j] for j in range(4) if j != i)
            costs[b, i] = -math.log(0.9 * shares[i] + 0.1 / 3 * others)
    assert segment_nce(queries, keys).item() == pytest.approx(costs.mean(), rel=1e-12)
    weights = torch.tensor([0.0, 1.0, 3.0]).double()
    weighted = (costs * np.array([[0.0], [1.0], [3.0]])).mean()
    found = segment_nce(queries, keys, video_weights=weights).item()
    assert found == pytest.approx(weighted, rel=1e-12)
    assert segment_nce(keys, queries).item() != pytest.approx(costs.mean(), rel=1e-3)


def test_released_numbers_are_of_llps_classes_in_order() -> None:
    assert read_vocabulary().names == LLP_CLASSES
    assert [len(ratios) for ratios in NOISE_RATIOS] == [25, 25]
    assert NOISE_RATIOS[0][:3] == (0.0646, 0.0561, 0.0208)
    assert NOISE_RATIOS[1][0] == 0.994
    assert NOISE_RATIOS[1][-1] == 0.2561
    assert VISUAL_THRESHOLDS[:3] == (0.7, 0.4, 0.7)
    assert VISUAL_THRESHOLDS[-1] == 0.3


@pytest.mark.parametrize(
    "recipe",
    [
        JomoldRecipe(noise_ratios="released"),
        CmpaeRecipe(visual_thresholds="released"),
    ],
)
def test_released_numbers_need_llps_classes(
    recipe: JomoldRecipe | CmpaeRecipe, tmp_path: Path
) -> None:
    def read(options: JomoldRecipe | CmpaeRecipe, vocabulary: Vocabulary) -> None:
        read_training_data(ShardSource(tmp_path, tmp_path), tmp_path, options, vocabulary)

    with pytest.raises(PipelineError, match=r"must not be 'released' with these 25 classes"):
        read(recipe, make_vocabulary(25))
    for options, vocabulary in (
        (recipe, read_vocabulary()),
        (type(recipe)(), make_vocabulary(25)),
    ):
        with pytest.raises(PipelineError, match=r"AVVP_train\.csv"):  # the next thing that lacks
            read(options, vocabulary)


def plan_for(method: str = "jomold", classes: int = 5, **options: object) -> DenoisingPlan[Any]:
    torch.manual_seed(0)
    dimensions = Dimensions(6, 7, 0, 0, 0, 10, classes)
    plan = build_plan(method, dimensions, recipe_for(method, {**SMALL, **options}))
    assert isinstance(plan, DenoisingPlan)
    return plan.double()


def videos(count: int, classes: int = 5) -> tuple[ParserInputs, ParserTargets]:
    inputs = ParserInputs(drawn(count, 10, 6), drawn(count, 10, 7, seed=1))
    return inputs, ParserTargets(weak_labels(count, classes))


@pytest.mark.parametrize("method", ["jomold", "cmpae"])
def test_an_estimator_comes_first_unless_ratios_are_released(method: str) -> None:
    plan = plan_for(method)
    estimator, training = plan.phases()
    assert (estimator.name, estimator.epochs, estimator.part) == ("noise estimator", 25, ESTIMATOR)
    assert estimator.selection == "event_audio"
    assert estimator.optimised == {ESTIMATOR: ESTIMATOR}
    assert training.reseeded
    assert not estimator.reseeded
    assert plan.validated(estimator) is plan.estimator
    assert plan.validated(training) is plan.parser
    released = plan_for(method, classes=25, noise_ratios="released")
    (only,) = released.phases()
    assert (only.part, only.reseeded) == ("parser", False)
    assert released.ratios[1, 0] == 0.994
    assert "ratios" in released.state_dict()
    assert not any(name.startswith(ESTIMATOR) for name in released.state_dict())


@pytest.mark.parametrize("method", ["jomold", "cmpae"])
def test_estimator_learns_without_cross_attention_and_the_parser_with_it(method: str) -> None:
    plan = plan_for(method)
    inputs, targets = videos(12)
    for phase, trained in zip(plan.phases(), (plan.estimator, plan.parser), strict=True):
        plan.zero_grad()
        (update,) = plan.steps(phase, Batch(inputs, targets, 1, 0))
        assert list(phase.optimised) == [update.optimiser]
        torch.stack(list(update.terms.values())).sum().backward()
        learning = {n for n, weight in plan.named_parameters() if weight.grad is not None}
        assert learning <= {f"{phase.part}.{name}" for name, _ in trained.named_parameters()}
        crossing = any("cross_attention" in name for name in learning)
        assert crossing == (phase.part != ESTIMATOR)


def test_labels_are_removed_from_the_second_epoch_by_a_pass_with_dropout() -> None:
    plan = plan_for().train()
    plan.ratios.fill_(0.7)
    inputs, targets = videos(24)
    smooth = torch.stack((targets.weak, 0.9 * targets.weak + 0.05), dim=1)
    torch.testing.assert_close(plan.denoised(Batch(inputs, targets, 1, 3)), smooth)
    torch.manual_seed(5)
    found = plan.denoised(Batch(inputs, targets, 2, 0))
    torch.manual_seed(5)
    output = plan.parser(inputs, crosses=False)
    probabilities = output.prediction().by_modality.detach()
    removed = slowly_removed(
        -(smooth * probabilities.log() + (1 - smooth) * (1 - probabilities).log()),
        targets.weak,
        plan.ratios,
    )
    assert removed.any()
    torch.testing.assert_close(found, torch.where(removed, 0.0, smooth))
    assert not found.requires_grad
    torch.manual_seed(6)
    assert (plan.denoised(Batch(inputs, targets, 2, 0)) != found).any()


def test_ratios_come_from_the_estimator_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising_plan, "BATCH", 8)
    plan = plan_for().train()
    inputs, targets = videos(20)
    estimator, training = plan.phases()
    plan.finish(training, inputs, targets, None)  # type: ignore[arg-type]
    assert not plan.ratios.any()
    plan.finish(estimator, inputs, targets, None)  # type: ignore[arg-type]
    assert plan.estimator.training
    output = plan.estimator.eval()(inputs, crosses=False)
    probabilities = torch.stack((output.audio_video, output.visual_video), dim=1)
    expected = noise_ratios(probabilities, targets.weak, (0.6, 1.8), (1.0, 0.9))
    assert plan.ratios.any()
    torch.testing.assert_close(plan.ratios, expected)


def test_labels_of_what_is_heard_but_not_seen_are_removed_from_the_visual_ones() -> None:
    weak = torch.ones(100, 1)
    probabilities = torch.full((100, 2, 1), 0.9)
    probabilities[:40, 1] = 0.05
    ratios = noise_ratios(probabilities, weak, (0.6, 0.9), (1.0, 0.9))
    assert ratios.tolist() == [[0.0], [0.4]]
    labels = torch.stack((weak, 0.9 * weak + 0.05), dim=1)
    audio, visual = denoised_labels(probabilities, labels, weak, ratios).unbind(dim=1)
    assert (audio == 1).all()
    assert (visual[40:] > 0).all()
