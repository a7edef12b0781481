"""JoMoLD: sizes, what each pass reads, and its loss against a slow reference."""

import math

import pytest
import torch
from torch import Tensor

from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.denoising_plan import DenoisingPlan
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.jomold import Jomold, NoiseEstimator
from pipeline.parsers.recipes import CmpaeRecipe, JomoldRecipe
from pipeline.parsers.registry import build_network, build_plan

CLASSIC = Dimensions(128, 2048, 512, 0, 0, 10, 25)
CACHED = Dimensions(768, 768, 0, 0, 0, 10, 25)
TINY = Dimensions(6, 7, 0, 0, 0, 4, 5)
RECIPE = JomoldRecipe(width=8, feedforward=8)


def network(kind: type[Jomold] = Jomold) -> Jomold:
    torch.manual_seed(0)
    return kind(TINY, RECIPE).double()


def inputs(videos: int = 3) -> ParserInputs:
    torch.manual_seed(1)
    return ParserInputs(torch.randn(videos, 4, 6).double(), torch.randn(videos, 4, 7).double())


# 4.57 M as released with classic features; 1 115 136 fewer on CLAP and CLIP without 3-D features.
@pytest.mark.parametrize(("dimensions", "count"), [(CLASSIC, 4_569_675), (CACHED, 3_454_539)])
def test_it_has_the_published_number_of_parameters(dimensions: Dimensions, count: int) -> None:
    assert build_network("jomold", dimensions, JomoldRecipe()).parameter_count() == count


def test_the_recipe_is_the_released_one() -> None:
    recipe = JomoldRecipe()
    assert (recipe.optimiser, recipe.learning_rate, recipe.weight_decay) == ("adam", 5e-4, 0)
    assert (recipe.schedule, recipe.step_epochs, recipe.step_factor) == ("step", 6, 0.25)
    assert (recipe.batch_size, recipe.epochs, recipe.selection) == (128, 25, "event_audio")
    assert (recipe.gate, recipe.segment_threshold, recipe.video_threshold) == ("modality", 0.5, 0.5)
    assert (recipe.width, recipe.layers, recipe.heads, recipe.feedforward) == (512, 1, 1, 512)
    assert (recipe.dropout, recipe.visual_dropout, recipe.order) == (0.1, 0.5, "simultaneous")
    assert not recipe.uses_pseudo_labels
    assert not recipe.keeps_frames


def test_stage_1_trains_all_but_the_cross_attention() -> None:
    estimator = NoiseEstimator(CLASSIC, JomoldRecipe())
    features = [torch.randn(2, 10, size) for size in (128, 2048, 512)]
    output = estimator(ParserInputs(*features))
    torch.stack(
        list(estimator.loss_terms(output, ParserTargets(torch.ones(2, 25))).values())
    ).sum().backward()
    learning = [weight.numel() for weight in estimator.parameters() if weight.grad is not None]
    assert sum(learning) == 3_519_051  # 3.52 M


def test_both_stages_start_from_the_same_weights() -> None:
    plan = build_plan("jomold", TINY, RECIPE)
    assert isinstance(plan, DenoisingPlan)
    for name, weight in plan.parser.named_parameters():
        other = plan.estimator.get_parameter(name)
        assert other is not weight
        torch.testing.assert_close(other, weight, rtol=0, atol=0)


def test_without_cross_attention_no_modality_sees_the_other() -> None:
    parser, given = network().eval(), inputs()
    changed = ParserInputs(given.audio, torch.randn_like(given.visual))
    for crosses in (False, True):
        one, other = (parser(each, crosses=crosses) for each in (given, changed))
        is_same = torch.equal(one.audio_video, other.audio_video)
        assert is_same != crosses
        assert not torch.equal(one.visual_video, other.visual_video)


def test_visual_dropout_reaches_the_head_but_not_the_contrastive_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parser = Jomold(TINY, JomoldRecipe(width=8, feedforward=8, dropout=0.0)).double()
    still = parser.eval()(inputs())
    expected = parser.head(still.audio_features, 0.5 * still.visual_features)

    def scaled(x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        return x * (1 - p) if training else x

    monkeypatch.setattr(torch.nn.functional, "dropout", scaled)
    moving = parser.train()(inputs())
    torch.testing.assert_close(moving.logits, expected.logits)
    torch.testing.assert_close(moving.video, expected.video)
    torch.testing.assert_close(moving.visual_video, expected.visual_video)
    torch.testing.assert_close(moving.visual_features, still.visual_features)


def cross_entropy(probabilities: Tensor, labels: Tensor) -> float:
    total = 0.0
    for p, y in zip(probabilities.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = min(max(p, 1e-7), 1 - 1e-7)
        total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    return total / probabilities.numel()


def contrast(audio: Tensor, visual: Tensor) -> float:
    costs = []
    for a, v in zip(audio, visual, strict=True):
        for i in range(4):
            powers = [
                math.exp(float(a[i] @ v[j] / a[i].norm() / v[j].norm()) / 0.2) for j in range(4)
            ]
            own = powers[i] / sum(powers)
            costs.append(-math.log(0.9 * own + 0.1 / 3 * (1 - own)))
    return sum(costs) / len(costs)


@pytest.mark.parametrize(("kind", "weight"), [(Jomold, 2.0), (NoiseEstimator, 1.0)])
def test_loss_terms_are_those_of_the_paper(kind: type[Jomold], weight: float) -> None:
    parser = network(kind)
    output = parser(inputs())
    weak = (torch.rand(3, 5) < 0.5).double()
    terms = parser.loss_terms(output, ParserTargets(weak))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "video": cross_entropy(output.video, weak),
            "audio_video": weight * cross_entropy(output.audio_video, weak),
            "visual_video": cross_entropy(output.visual_video, 0.9 * weak + 0.05),
            "nce": contrast(output.audio_features.detach(), output.visual_features.detach()),
        },
        rel=1e-10,
    )


def test_denoised_labels_are_compared_as_they_are() -> None:
    parser = network()
    output = parser(inputs())
    weak, labels = torch.ones(3, 5).double(), torch.rand(3, 2, 5).double()
    terms = parser.label_terms(output, weak, labels)
    audio = 2 * cross_entropy(output.audio_video, labels[:, 0])
    assert terms["audio_video"].item() == pytest.approx(audio, rel=1e-10)
    visual = cross_entropy(output.visual_video, labels[:, 1])
    assert terms["visual_video"].item() == pytest.approx(visual, rel=1e-10)


def test_the_estimator_of_another_method_is_judged_by_jomolds_thresholds() -> None:
    recipe = CmpaeRecipe(width=8, feedforward=8, video_threshold=0.4)
    torch.manual_seed(0)
    estimator = NoiseEstimator(TINY, recipe).eval()
    torch.nn.init.normal_(estimator.head.probability.weight, std=3.0)
    given = ParserInputs(torch.randn(50, 4, 6), torch.randn(50, 4, 7))
    plain = estimator(given).prediction()
    predicted = estimator.predict(given)
    decisions = []
    for each, chosen in ((plain, JomoldRecipe()), (predicted, recipe)):
        audio, visual = (each.segments[:, :, m].detach().numpy() for m in (0, 1))
        gates = each.by_modality.detach().numpy()
        decisions.append(decide(Probabilities(audio, visual, gates), chosen))
    for one, other in zip(*decisions, strict=True):
        assert 0.1 < one.mean() < 0.9
        assert (one == other).all()
