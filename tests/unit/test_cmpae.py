"""CMPAE: its network, losses and thresholds against slow references written from its equations."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.data.annotations import Labels
from pipeline.evaluation.metrics import score
from pipeline.parsers.class_thresholds import moved_threshold, searched_visual_thresholds
from pipeline.parsers.cmpae import CANDIDATES, Cmpae, CmpaePlan
from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.evidence import EvidenceOutput, mutual_loss
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserNetwork, ParserTargets
from pipeline.parsers.llp_numbers import VISUAL_THRESHOLDS
from pipeline.parsers.plan import Batch
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.recipes import CmpaeRecipe
from pipeline.parsers.registry import build_network, build_plan

CLASSIC = Dimensions(128, 2048, 512, 0, 0, 10, 25)
CACHED = Dimensions(768, 768, 0, 0, 0, 10, 25)
TINY = Dimensions(6, 7, 5, 0, 0, 4, 3)
FRAMES = 2


def recipe(**changes: object) -> CmpaeRecipe:
    return CmpaeRecipe.model_validate({"width": 8, "feedforward": 8, **changes})


def network(**changes: object) -> Cmpae:
    torch.manual_seed(0)
    return Cmpae(TINY, recipe(**changes)).double()


def inputs(videos: int = 3) -> ParserInputs:
    torch.manual_seed(1)
    shapes = ((videos, 4, 6), (videos, 4, FRAMES, 7), (videos, 4, 5))
    return ParserInputs(*(torch.randn(*shape).double() for shape in shapes))


@pytest.mark.parametrize(("dimensions", "count"), [(CLASSIC, 5_383_293), (CACHED, 4_268_157)])
def test_it_has_the_published_number_of_parameters(dimensions: Dimensions, count: int) -> None:
    assert build_network("cmpae", dimensions, CmpaeRecipe()).parameter_count() == count


def test_the_recipe_is_the_released_one() -> None:
    made = CmpaeRecipe()
    assert (made.optimiser, made.learning_rate, made.batch_size) == ("adam", 5e-4, 128)
    assert (made.step_epochs, made.step_factor, made.epochs) == (6, 0.25, 20)
    assert (made.selection, made.ties, made.gate) == ("all", "last", "modality")
    assert (made.segment_threshold, made.video_threshold, made.threshold_epoch) == (0.25, 0.45, 8)
    assert (made.audio_weight, made.visual_weight, made.video_weight) == (2.0, 0.6, 0.6)
    assert (made.nce_weight, made.mutual_weight) == (1.0, 1.0)
    assert made.keeps_frames
    assert not made.uses_pseudo_labels


# --- the network, one video, segment and class at a time -----------------------------------------


def total(terms: Iterable[Tensor]) -> Tensor:
    result = torch.zeros(()).double()
    for term in terms:
        result = result + term
    return result


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    rows = [total(w * v for w, v in zip(row, x, strict=True)) for row in layer.weight]
    return torch.stack([value + bias for value, bias in zip(rows, layer.bias, strict=True)])


def elu(x: Tensor) -> Tensor:
    return torch.stack([v if v > 0 else torch.exp(v) - 1 for v in x])


def leaky(x: Tensor) -> Tensor:
    return torch.stack([v if v > 0 else 0.2 * v for v in x])


def e(logit: Tensor) -> Tensor:
    return torch.exp(logit.clamp(-10, 10) / 0.8)


def pair(present: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    both = e(present) + 1 + e(absent) + 1
    return (e(present) + 1) / both, 2 / both


@dataclass
class Slow:
    """One video as the equations have it; dropout as a factor on the visual stream and inside the
    exchange between modalities."""

    p: Tensor  # [2, C]
    u: Tensor
    segments: Tensor  # [T, 2, C]
    g: Tensor  # [C]
    u_g: Tensor
    features: tuple[Tensor, Tensor]


def slow(
    parser: Cmpae, video: ParserInputs, crosses: bool, visual_kept: float, exchange_kept: float
) -> Slow:
    made, time = parser.projection, range(4)
    audio = torch.stack([elu(linear(made.audio, video.audio[0, t])) for t in time])
    visual = []
    for t in time:
        frames = [elu(linear(made.visual, video.visual[0, t, f])) for f in range(FRAMES)]
        assert video.motion is not None
        motion = elu(linear(made.motion, video.motion[0, t]))
        visual.append(elu(linear(made.fusion, torch.cat([total(frames) / FRAMES, motion]))))
    streams = audio, torch.stack(visual)
    z = [
        linear(
            parser.global_head,
            leaky(linear(parser.global_hidden, streams[0][t]))
            + leaky(linear(parser.global_hidden, streams[1][t])),
        )
        for t in time
    ]
    g = total(torch.sigmoid(each) for each in z) / 4
    mean_z = total(z) / 4
    u_g = 3 / total(e(mean_z[c]) + 1 for c in range(3))
    layer = parser.encoder.layers[0]
    encoded = []
    for own, other in ((0, 1), (1, 0)):
        query, key = streams[own][None], streams[other][None]
        plain = layer(query, key, crosses=False)[0]
        crossed = layer(query, key, crosses=True)[0]
        encoded.append(0.8 * crossed + 0.2 * plain if crosses else plain)
    x_a, x_v = encoded[0], visual_kept * encoded[1]
    logits, weights = torch.zeros(4, 2, 3, 2).double(), torch.zeros(4, 2, 3, 2).double()
    for t in time:
        both = x_a[t] + x_v[t]
        for m, (own, exchange) in enumerate(
            ((x_a[t], parser.audio_exchange), (x_v[t], parser.visual_exchange))
        ):
            exchanged = own + leaky(exchange_kept * linear(exchange[0], both))
            logits[t, m, :, 0] = linear(parser.presence, own)
            logits[t, m, :, 1] = linear(parser.absence, exchanged)
            scores = linear(parser.over_time, own)
            for c in range(3):
                weights[t, m, c, 0], weights[t, m, c, 1] = scores[2 * c], scores[2 * c + 1]
    weights = torch.exp(weights) / torch.exp(weights).sum(dim=0)
    pooled = (weights * logits).sum(dim=0)
    p, u = pair(pooled[..., 0], pooled[..., 1])
    segments, _ = pair(logits[..., 0], logits[..., 1])
    return Slow(p, u, segments, g, u_g, (encoded[0], encoded[1]))


def compare(output: EvidenceOutput, row: int, expected: Slow) -> None:
    pairs = (
        (output.by_modality, expected.p),
        (output.uncertainty, expected.u),
        (output.prediction().segments, expected.segments),
        (output.video, expected.g),
        (output.video_uncertainty, expected.u_g),
        (output.audio_features, expected.features[0]),
        (output.visual_features, expected.features[1]),
    )
    for found, wanted in pairs:
        torch.testing.assert_close(found[row], wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("crosses", [True, False])
@pytest.mark.parametrize("training", [False, True])
def test_network_is_that_of_the_equations(
    crosses: bool, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser, given = network(dropout=0.0).train(training), inputs(2)

    def scaled(x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        return x * (1 - p) if training else x

    monkeypatch.setattr(functional, "dropout", scaled)
    with torch.no_grad():
        for logits in (parser.presence, parser.absence, parser.global_head):
            logits.weight.mul_(8)  # so that some logits are clamped
        output = parser(given, crosses=crosses)
        assert (output.segment_logits.abs() > 10).any()
        for row in range(2):
            kept = (0.5, 0.8) if training else (1.0, 1.0)
            one = given.take(torch.tensor([row]))
            compare(output, row, slow(parser, one, crosses, *kept))


def test_logits_of_0_give_probability_and_uncertainty_one_half() -> None:
    zeros, features = torch.zeros(1, 4, 2, 3, 2), torch.zeros(1, 4, 8)
    output = EvidenceOutput(zeros, zeros[:, 0], zeros[:, :, 0, :, 0], features, features)
    assert (output.by_modality == 0.5).all()
    assert (output.uncertainty == 0.5).all()  # 2 / (2 + 2)
    assert output.video_uncertainty.item() == 0.5


def test_activation_acts_on_every_frame_before_their_mean() -> None:
    parser, given = network().eval(), inputs()
    averaged = ParserInputs(given.audio, given.visual.mean(dim=2), given.motion)
    assert (parser(given).by_modality - parser(averaged).by_modality).abs().max() > 1e-4
    repeated = given.visual[:, :, :1].expand(-1, -1, FRAMES, -1)
    one, many = (
        parser(ParserInputs(given.audio, visual, given.motion)).by_modality
        for visual in (given.visual[:, :, 0], repeated)
    )
    torch.testing.assert_close(one, many)


def test_prediction_is_seven_tenths_of_the_pass_with_cross_attention() -> None:
    parser, given = network().eval(), inputs()
    one, other = (parser(given, crosses=crosses).prediction() for crosses in (True, False))
    mixed = parser.predict(given)
    for key in ("segments", "by_modality"):
        expected = 0.7 * getattr(one, key) + 0.3 * getattr(other, key)
        torch.testing.assert_close(getattr(mixed, key), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(one.video, other.video)
    torch.testing.assert_close(mixed.video, one.video)


# --- losses --------------------------------------------------------------------------------------


def slow_mutual(g: Tensor, p: Tensor, u: Tensor, u_g: Tensor, weak: Tensor, odd: bool) -> Tensor:
    costs = []
    videos, classes = weak.shape
    for b in range(videos):
        doubt = u_g[b] if u_g[b] > 0.9 else torch.tensor(0.9, dtype=torch.float64)
        weight = doubt if odd else 1 - doubt
        for c in range(classes):
            audio, visual = (p[b, m, c].clamp(1e-7, 1 - 1e-7) for m in (0, 1))
            if weak[b, c] == 1:
                taught, unsure = (audio, u[b, 0, c]) if audio > visual else (visual, u[b, 1, c])
            else:
                taught, unsure = (audio + visual) / 2, (u[b, 0, c] + u[b, 1, c]) / 2
            video = g[b, c].clamp(1e-7, 1 - 1e-7)
            difference = video - taught.detach() if odd else video.detach() - taught
            costs.append(weight * (1 - unsure) * difference**2)
    return total(costs) / (videos * classes)


def random_output(scale: float, leaf: bool = False) -> EvidenceOutput:
    torch.manual_seed(2)
    shapes = ((5, 4, 2, 3, 2), (5, 2, 3, 2), (5, 4, 3))
    segment, pooled, video = (
        (scale * torch.randn(*shape)).double().requires_grad_(leaf) for shape in shapes
    )
    return EvidenceOutput(segment, pooled, video, torch.zeros(5, 4, 8), torch.zeros(5, 4, 8))


@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("scale", [0.05, 1.0, 9.0])
def test_mutual_loss_and_its_gradient(odd: bool, scale: float) -> None:
    weak = (torch.rand(5, 3, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    gradients = []
    for slowly in (False, True):
        output = random_output(scale, leaf=True)
        if scale < 1:  # evidence against every class: the global branch is unsure, u_g > 0.9
            with torch.no_grad():
                output.global_logits.sub_(4)
        if slowly:
            loss = slow_mutual(
                output.video,
                output.by_modality,
                output.uncertainty,
                output.video_uncertainty,
                weak,
                odd,
            )
        else:
            loss = mutual_loss(output, weak, teaches_video=odd)
        loss.backward()
        moved = output.global_logits.grad  # None where u_g is held at 0.9 and g does not learn
        gradients.append(
            (
                loss.detach(),
                torch.zeros_like(output.global_logits) if moved is None else moved,
                output.logits.grad,
            )
        )
    assert gradients[0][0] > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-11, atol=1e-16)


def test_modalities_learn_in_even_batches_and_the_global_branch_in_odd_ones() -> None:
    """Through the squared difference only: with u held, the other side gets no gradient."""
    weak = torch.ones(5, 3).double()
    for odd in (True, False):
        output = random_output(1.0, leaf=True)
        mutual_loss(output, weak, teaches_video=odd).backward()
        moved = output.global_logits.grad
        # Where u_g is below 0.9, g moves only if it is taught.
        unsure = (output.video_uncertainty < 0.9).nonzero().flatten()
        assert moved is not None
        assert bool(moved[unsure].any()) == odd


def plan_for(**changes: object) -> CmpaePlan:
    torch.manual_seed(0)
    plan = build_plan("cmpae", TINY, recipe(**changes))
    assert isinstance(plan, CmpaePlan)
    return plan.double()


def cross_entropy(probabilities: Tensor, labels: Tensor) -> float:
    cost = 0.0
    for p, y in zip(probabilities.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = min(max(p, 1e-7), 1 - 1e-7)
        cost -= y * math.log(p) + (1 - y) * math.log(1 - p)
    return cost / probabilities.numel()


@pytest.mark.parametrize("index", [0, 1])
def test_update_has_the_five_terms_with_their_weights(index: int) -> None:
    plan = plan_for(dropout=0.0, visual_dropout=0.0).eval()
    weak = (torch.rand(3, 3, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    targets = ParserTargets(weak)
    phase = plan.phases()[-1]
    (update,) = plan.steps(phase, Batch(inputs(), targets, 1, index))
    output = plan.parser(inputs())
    mutual = slow_mutual(
        output.video,
        output.by_modality,
        output.uncertainty,
        output.video_uncertainty,
        weak,
        index == 1,
    )
    assert update.optimiser == "parser"
    terms = {name: term.item() for name, term in update.terms.items()}
    nce = terms.pop("nce")
    assert nce > 0
    assert terms == pytest.approx(
        {
            "video": 0.6 * cross_entropy(output.video, weak),
            "audio_video": 2 * cross_entropy(output.by_modality[:, 0], weak),
            "visual_video": 0.6 * cross_entropy(output.by_modality[:, 1], 0.9 * weak + 0.05),
            "mutual": mutual.item(),
        },
        rel=1e-10,
    )


def test_labels_are_denoised_before_the_loss() -> None:
    plan = plan_for().eval()
    plan.ratios.fill_(1.0)
    phase = plan.phases()[-1]
    targets = ParserTargets(torch.ones(3, 3).double())
    (update,) = plan.steps(phase, Batch(inputs(), targets, 2, 0))
    output = plan.parser(inputs())
    zeros = torch.zeros(3, 3).double()
    expected = 2 * cross_entropy(output.by_modality[:, 0], zeros)
    assert update.terms["audio_video"].item() == pytest.approx(expected, rel=1e-10)


# --- thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("target", [0.45, 0.3, 0.5])
def test_moved_probabilities_decide_as_the_old_thresholds(
    dtype: torch.dtype, target: float
) -> None:
    thresholds = torch.tensor(CANDIDATES, dtype=torch.float64)
    exact = thresholds.to(dtype)
    ones, zeros = torch.ones_like(exact), torch.zeros_like(exact)
    grid = [torch.rand(5000, len(CANDIDATES)).to(dtype), zeros[None], ones[None], exact[None]]
    up = down = exact
    for _ in range(20):  # neighbours of the threshold: rounding must not change sides
        up, down = torch.nextafter(up, ones), torch.nextafter(down, zeros)
        grid += [up[None], down[None]]
    probabilities = torch.cat(grid)
    moved = moved_threshold(probabilities, thresholds, target)
    assert moved.dtype == dtype
    before = probabilities.numpy() >= exact.numpy()
    np.testing.assert_array_equal(moved.numpy() >= target, before)
    assert (moved.min().item(), moved.max().item()) == (0, 1)
    order = probabilities.sort(dim=0)
    assert (moved.gather(0, order.indices).diff(dim=0) >= 0).all()
    at_threshold = moved_threshold(exact, thresholds, target)
    assert (at_threshold == torch.tensor(target, dtype=dtype)).all()


def test_equal_thresholds_change_no_bit() -> None:
    probabilities = torch.rand(1000, 3)
    thresholds = torch.full((3,), 0.45, dtype=torch.float64)
    assert torch.equal(moved_threshold(probabilities, thresholds, 0.45), probabilities)


def simulated_probabilities(videos: int = 30, classes: int = 4) -> tuple[Probabilities, Any]:
    random = np.random.default_rng(0)
    truth = (random.random((2, videos, 1, classes)) < 0.4) & (
        random.random((2, videos, 10, classes)) < 0.8
    )
    noise = random.random((2, videos, 10, classes))
    segments = (0.5 * truth + 0.5 * noise).astype(np.float32)
    gate = (0.3 * truth.any(axis=2) + 0.7 * random.random((2, videos, classes))).astype(np.float32)
    found = Probabilities(segments[0], segments[1], gate.transpose(1, 0, 2))
    return found, truth.astype(np.uint8)


class SlowValidation:
    """Validation of fixed probabilities, counting what is asked."""

    def __init__(self) -> None:
        self.probabilities, both = simulated_probabilities()
        self.truth = both[0], both[1]
        self.asked: list[ParserNetwork[Any]] = []

    def parse(self, network: ParserNetwork[Any]) -> Probabilities:
        self.asked.append(network)
        return self.probabilities

    def metrics(self, audio: Labels, visual: Labels) -> Mapping[str, Mapping[str, float]]:
        return score(*self.truth, audio, visual).metrics()


def slowly_searched(validation: SlowValidation, made: CmpaeRecipe) -> list[float]:
    found = []
    probabilities = validation.probabilities
    for c in range(4):
        best, best_score = 0.0, 0.0
        for candidate in CANDIDATES:
            thresholds = np.full(4, 0.45)
            thresholds[c] = candidate
            audio = (probabilities.audio >= 0.25) & (probabilities.gate[:, :1] >= 0.45)
            visual = (probabilities.visual >= 0.25) & (probabilities.gate[:, 1:] >= thresholds)
            reached = score(*validation.truth, audio, visual).metrics()["event"]["visual"]
            if reached >= best_score:
                best, best_score = candidate, reached
        found.append(best)
    return found


def test_search_takes_the_best_threshold_of_each_class_and_the_larger_of_equals() -> None:
    validation = SlowValidation()
    found = searched_visual_thresholds(
        validation.probabilities,
        recipe(),
        CANDIDATES,
        lambda audio, visual: validation.metrics(audio, visual)["event"]["visual"],
    ).tolist()
    assert found == slowly_searched(validation, recipe())
    assert len(set(found)) > 1
    constant = searched_visual_thresholds(
        validation.probabilities, recipe(), CANDIDATES, lambda audio, visual: 1.0
    )
    assert constant.tolist() == [0.7] * 4


@pytest.mark.parametrize(("epochs", "searched_in"), [(20, 8), (5, 5)])
def test_thresholds_of_epoch_8_are_given_to_the_selected_parser(
    epochs: int, searched_in: int
) -> None:
    torch.manual_seed(0)
    dimensions = Dimensions(6, 7, 0, 0, 0, 10, 4)
    made = recipe(epochs=epochs)
    plan = build_plan("cmpae", dimensions, made)
    assert isinstance(plan, CmpaePlan)
    estimator, training = plan.phases()
    validation = SlowValidation()
    for phase in (estimator, training):
        for epoch in range(1, epochs + 1):
            plan.after_epoch(phase, epoch, validation)
            assert len(validation.asked) == (phase is training and epoch >= searched_in)
            assert (plan.parser.visual_thresholds == 0.45).all()
    assert validation.asked == [plan.parser]
    given = ParserInputs(torch.randn(6, 10, 6), torch.randn(6, 10, 7))
    before = parse_videos(plan.parser, given, made)
    state = {name: value.clone() for name, value in plan.state_dict().items()}
    plan.finish(training, given, ParserTargets(torch.ones(6, 4)), validation)
    expected = slowly_searched(validation, made)
    assert plan.parser.visual_thresholds.tolist() == expected
    assert state["visual_thresholds"].tolist() == expected
    after = parse_videos(plan.parser, given, made)
    np.testing.assert_array_equal(before.gate[:, 0], after.gate[:, 0])
    visual = (before.visual >= 0.25) & (before.gate[:, 1:] >= np.array(expected, np.float32))
    np.testing.assert_array_equal(decide(after, made)[1], visual)


def test_thresholds_may_be_the_released_ones_or_none() -> None:
    validation = SlowValidation()
    for choice, expected in (("released", list(VISUAL_THRESHOLDS)), ("none", [0.45] * 25)):
        made = recipe(visual_thresholds=choice, noise_ratios="released")
        plan = build_plan("cmpae", Dimensions(6, 7, 0, 0, 0, 10, 25), made)
        (phase,) = plan.phases()
        plan.after_epoch(phase, 8, validation)
        given, targets = (
            ParserInputs(torch.randn(2, 10, 6), torch.randn(2, 10, 7)),
            torch.ones(2, 25),
        )
        plan.finish(phase, given, ParserTargets(targets), validation)
        assert isinstance(plan.parser, Cmpae)
        assert plan.parser.visual_thresholds.tolist() == expected
    assert validation.asked == []
