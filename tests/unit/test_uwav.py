"""UWAV's parser and its three ingredients against slow references, in float64."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import PipelineError
from pipeline.parsers import losses
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserOutput, ParserTargets
from pipeline.parsers.recipes import UwavRecipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.parsers.uwav import Uwav
from pipeline.parsers.valor import valor_terms

VIDEOS, SEGMENTS, CLASSES = 3, 4, 5
SMALL: Mapping[str, object] = {"width": 16, "heads": 2, "layers": 2, "feedforward": 24}


def network(motion: int = 0, **options: object) -> Uwav:
    torch.manual_seed(0)
    recipe = recipe_for("uwav", {**SMALL, "motion": motion > 0, **options})
    parser = build_network("uwav", Dimensions(6, 7, motion, 0, 0, SEGMENTS, CLASSES), recipe)
    assert isinstance(parser, Uwav)
    return parser.double()


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_inputs(motion: int = 0) -> ParserInputs:
    visual, three_d = some(VIDEOS, SEGMENTS, 7, seed=1), some(VIDEOS, SEGMENTS, 9, seed=2)
    return ParserInputs(some(VIDEOS, SEGMENTS, 6), visual, three_d if motion else None)


def some_targets() -> ParserTargets:
    weak = (some(VIDEOS, CLASSES, seed=3) > 0).double()
    soft = [some(VIDEOS, SEGMENTS, CLASSES, seed=seed).sigmoid() * weak[:, None] for seed in (4, 5)]
    everyone = [some(11, SEGMENTS, CLASSES, seed=seed).sigmoid() for seed in (6, 7)]
    return ParserTargets(weak, *soft, *(losses.class_frequencies(labels) for labels in everyone))


def cross_entropy(probability: float, label: float) -> float:
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


# ---- sizes


@pytest.mark.parametrize(
    ("sizes", "options", "parameters"),
    [
        ((128, 2048, 512), {"motion": True}, 23_021_643),  # the paper: 23.0 M
        ((512, 768, 0), {}, 22_497_355),
        ((768, 768, 0), {"audio_input": "map"}, 22_759_499),
        ((512, 768, 0), {"width": 768, "project_visual": False}, 41_407_819),
    ],
)
def test_number_of_parameters(
    sizes: tuple[int, int, int], options: dict[str, object], parameters: int
) -> None:
    dimensions = Dimensions(*sizes, 0, 0, 10, 25)
    assert build_network("uwav", dimensions, recipe_for("uwav", options)).parameter_count() == (
        parameters
    )


def test_unprojected_features_must_have_the_width_and_no_motion() -> None:
    with pytest.raises(PipelineError, match="width must be 7, the size of the visual features"):
        network(project_visual=False)
    with pytest.raises(PipelineError, match="motion must be false"):
        recipe_for("uwav", {"project_visual": False, "motion": True})


# ---- the network


def test_layers_start_equal_and_are_not_shared() -> None:
    first, second = network().encoder.layers
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other
        assert torch.equal(one, other)


@pytest.mark.parametrize("motion", [0, 9])
def test_forward_against_the_formula(motion: int) -> None:
    parser, inputs = network(motion).eval(), some_inputs(motion)
    weights = parser.state_dict()

    def linear(name: str, features: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.linear(features, weight, bias)

    audio = linear("projection.audio.2", linear("projection.audio.0", inputs.audio).clamp(min=0))
    seen = inputs.visual if inputs.motion is None else torch.cat([inputs.visual, inputs.motion], 2)
    visual = linear("projection.visual", seen)
    for layer in parser.encoder.layers:
        audio = layer(audio, visual)
        visual = layer(visual, audio)  # it sees the updated audio
    output = parser(inputs)
    for modality, features in enumerate((audio, visual)):
        expected = linear("head.probability", features)
        torch.testing.assert_close(output.logits[:, :, modality], expected, rtol=0, atol=1e-12)


def test_every_parameter_learns() -> None:
    parser = network(9).train()
    terms = parser.loss_terms(parser(some_inputs(9)), some_targets())
    torch.stack(list(terms.values())).sum().backward()
    for name, weight in parser.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


# ---- class weights


def test_frequencies_count_the_binary_labels_of_a_segment() -> None:
    labels = some(6, SEGMENTS, CLASSES).sigmoid()
    count = [0] * CLASSES
    for video in labels:
        for segment in video:
            for index, value in enumerate(segment):
                count[index] += int(value > 0.5)
    frequencies = losses.class_frequencies(labels.float())
    assert frequencies.dtype == torch.float64
    assert frequencies.tolist() == pytest.approx([each / (6 * SEGMENTS) for each in count])


def test_one_event_a_segment_gives_weights_12_and_1() -> None:
    weak = torch.zeros(1, 25)
    weak[0, 3] = 1
    frequencies = torch.full((25,), 1 / 25, dtype=torch.float64)
    weights = losses.balance_weights(weak, frequencies, 0.5)
    assert weights.dtype == torch.float64
    assert weights[0, 0].tolist() == pytest.approx(
        [12.0 if index == 3 else 1 for index in range(25)]
    )


# ---- mix-up


def test_mixing_all_of_a_segment_with_itself_is_the_plain_loss() -> None:
    logits, labels = some(2, SEGMENTS, CLASSES), some(2, SEGMENTS, CLASSES, seed=1).sigmoid()
    partners = torch.randperm(2 * SEGMENTS, generator=torch.Generator().manual_seed(0))
    mixed = losses.mixup_bce(logits, labels, losses.Mixture(1.0, partners))
    torch.testing.assert_close(mixed, losses.segment_bce(logits, labels))


def test_mixtures_of_logits_are_logits_of_mixed_features() -> None:
    """Value and gradients, as the released code computes them from the encoder's features."""
    features = some(2, SEGMENTS, 8).requires_grad_()
    labels = some(2, SEGMENTS, CLASSES, seed=1).sigmoid()
    classifier = torch.nn.Linear(8, CLASSES).double()
    mixture = losses.Mixture(0.3, torch.randperm(2 * SEGMENTS))
    flat, targets = features.flatten(0, 1), labels.flatten(0, 1)
    mixed = classifier(0.3 * flat + 0.7 * flat[mixture.partners])
    total = torch.zeros((), dtype=torch.float64)
    for row, partner in enumerate(mixture.partners.tolist()):
        for share, label in ((0.3, targets[row]), (0.7, targets[partner])):
            total = total + share * functional.binary_cross_entropy_with_logits(mixed[row], label)
    expected = total / len(flat)
    found = losses.mixup_bce(classifier(features), labels, mixture)
    torch.testing.assert_close(found, expected)
    learnt = features, classifier.weight, classifier.bias
    for one, other in zip(
        torch.autograd.grad(found, learnt), torch.autograd.grad(expected, learnt), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_shares_follow_the_beta_distribution() -> None:
    torch.manual_seed(0)
    shares = torch.tensor(
        [losses.draw_mixture(2, 1.7, torch.device("cpu")).share for _ in range(2000)]
    )
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 1.7 + 1)), rel=0.1)


# ---- the whole loss


def slow_loss(output: ParserOutput, targets: ParserTargets, recipe: UwavRecipe) -> dict[str, float]:
    """Compute the loss video by video, segment by segment, class by class."""
    videos = range(VIDEOS)
    cells = [(b, t, c) for b in videos for t in range(SEGMENTS) for c in range(CLASSES)]
    terms = {}
    total = 0.0
    for b in videos:
        for c in range(CLASSES):
            g = min(max(output.video[b, c].item(), 1e-7), 1 - 1e-7)
            total += cross_entropy(g, targets.weak[b, c].item())
    terms["video"] = total / (VIDEOS * CLASSES)
    pairs = list(zip((0, 1), targets.pseudo, targets.frequencies, strict=True))
    for modality, labels, frequencies in pairs:
        events, total = frequencies.sum().item(), 0.0
        for b, t, c in cells:
            weight = recipe.balance * (CLASSES - events) if targets.weak[b, c] == 1 else events
            probability = output.logits[b, t, modality, c].sigmoid().item()
            total += weight * cross_entropy(probability, labels[b, t, c].item())
        terms[f"{('audio', 'visual')[modality]}_segment"] = total / len(cells)
    for modality, labels, _ in pairs:  # draws: share, then partners, of audio, then of visual
        alpha = torch.tensor(recipe.mixup, dtype=torch.float64)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        partners = torch.randperm(VIDEOS * SEGMENTS).tolist()
        total = 0.0
        for b, t, c in cells:
            other_b, other_t = divmod(partners[b * SEGMENTS + t], SEGMENTS)
            logit = share * output.logits[b, t, modality, c].item()
            logit += (1 - share) * output.logits[other_b, other_t, modality, c].item()
            probability = 1 / (1 + math.exp(-logit))
            total += share * cross_entropy(probability, labels[b, t, c].item())
            total += (1 - share) * cross_entropy(probability, labels[other_b, other_t, c].item())
        terms[f"{('audio', 'visual')[modality]}_mixup"] = total / len(cells)
    return terms


def test_loss_terms_against_loops() -> None:
    parser, targets = network(), some_targets()
    output = parser(some_inputs())
    assert isinstance(parser.recipe, UwavRecipe)
    torch.manual_seed(5)
    found = parser.loss_terms(output, targets)
    torch.manual_seed(5)
    expected = slow_loss(output, targets, parser.recipe)
    assert list(found) == list(expected)
    for name, term in found.items():
        assert term.item() == pytest.approx(expected[name], rel=1e-10), name


def test_weighted_terms_are_float64_and_train_a_float32_network() -> None:
    parser, inputs = network().float(), some_inputs()
    inputs = ParserInputs(inputs.audio.float(), inputs.visual.float())
    wide = some_targets()
    audio, visual = (labels.float() for labels in wide.pseudo)
    targets = ParserTargets(wide.weak.float(), audio, visual, *wide.frequencies)
    terms = parser.loss_terms(parser(inputs), targets)
    doubles = [name for name, term in terms.items() if term.dtype == torch.float64]
    assert doubles == ["audio_segment", "visual_segment"]
    torch.stack(list(terms.values())).sum().backward()
    gradient = parser.head.probability.weight.grad
    assert gradient is not None
    assert gradient.dtype == torch.float32


@pytest.mark.parametrize("method", ["valorpp", "link"])
def test_valorpp_and_link_have_the_same_ingredients(method: str) -> None:
    parser, targets = network(), some_targets()
    output = parser(some_inputs())
    plain = valor_terms(output, targets)
    assert list(plain) == ["video", "audio_segment", "visual_segment"]
    options: dict[str, object] = {"balance": 0.5, "mixup": 1.7}
    if method == "link":
        options |= {"plsim": False, "label_loss": "none", "avss_weight": 0}
    dimensions = Dimensions(6, 7, 0, 0, 0, SEGMENTS, CLASSES)
    other = build_network(method, dimensions, recipe_for(method, options))
    torch.manual_seed(5)
    found = other.loss_terms(output, targets)
    torch.manual_seed(5)
    assert found == parser.loss_terms(output, targets)


def test_class_weights_without_frequencies_say_so() -> None:
    targets = some_targets()
    without = ParserTargets(targets.weak, *targets.pseudo)
    with pytest.raises(ValueError, match="class weights need the class frequencies"):
        network().loss_terms(network()(some_inputs()), without)
