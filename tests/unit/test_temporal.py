"""UWAV's temporal label network, its loss and its labels, against slow references in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.labels.pseudo_labels import soften
from pipeline.labels.teacher_options import TeacherOptions
from pipeline.labels.temporal import TemporalNetwork, heard_and_seen, temporal_loss
from pipeline.labels.thresholds import f1_thresholds, finite_thresholds

AUDIO, VISUAL, CLASSES = 6, 8, 5
SMALL = TeacherOptions(width=8, hidden=12, layers=2, heads=2, feedforward=10)


def network() -> TemporalNetwork:
    torch.manual_seed(0)
    return TemporalNetwork(AUDIO, VISUAL, SMALL).double()


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embeddings(videos: int, seconds: int) -> tuple[Tensor, Tensor]:
    return some(videos, seconds, AUDIO, seed=1), some(videos, seconds, VISUAL, seed=2)


TEXTS = some(CLASSES, AUDIO, seed=3), some(CLASSES, VISUAL, seed=4)


# ---- the network


def test_number_of_parameters_is_uwavs() -> None:
    sizes = [weight.numel() for weight in TemporalNetwork(512, 768, TeacherOptions()).parameters()]
    assert sum(sizes) == 92_985_856


def test_layers_start_equal_and_modalities_different() -> None:
    made = network()
    first, second = made.audio.encoder.layers
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other
        assert torch.equal(one, other)
    weights = [branch.encoder.layers[0].linear1.weight for branch in (made.audio, made.visual)]
    assert not torch.equal(*weights)


def test_options_are_the_released_codes() -> None:
    options = TeacherOptions()
    assert (options.width, options.hidden, options.layers, options.heads) == (1024, 2048, 5, 16)
    assert (options.feedforward, options.dropout) == (2048, 0.3)
    assert math.exp(options.visual_scale) == pytest.approx(100, rel=1e-3)
    assert math.exp(options.audio_scale) == pytest.approx(26.875, rel=1e-3)
    assert (options.beta1, options.beta2, options.weight_decay) == (0.5, 0.999, 1e-3)
    assert (options.learning_rate, options.minimum_learning_rate) == (1e-4, 1e-5)
    assert (options.epochs, options.warmup_epochs, options.batch_size) == (80, 10, 64)
    assert options.clip_norm == 2.0


def slow_layer(weights: dict[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    """A post-norm transformer layer of one video [T, d], head by head and second by second."""

    def of(name: str) -> Tensor:
        return weights[f"{prefix}.{name}"]

    width = x.shape[1]
    size = width // SMALL.heads
    projected = x @ of("self_attn.in_proj_weight").T + of("self_attn.in_proj_bias")
    query, key, value = projected.split(width, dim=1)
    mixed = torch.zeros_like(x)
    for head in range(SMALL.heads):
        part = slice(head * size, (head + 1) * size)
        for second in range(len(x)):
            scores = key[:, part] @ query[second, part] / math.sqrt(size)
            mixed[second, part] = scores.softmax(0) @ value[:, part]
    attended = mixed @ of("self_attn.out_proj.weight").T + of("self_attn.out_proj.bias")
    hidden = functional.layer_norm(x + attended, (width,), of("norm1.weight"), of("norm1.bias"))
    inner = (hidden @ of("linear1.weight").T + of("linear1.bias")).clamp(min=0)
    added = hidden + inner @ of("linear2.weight").T + of("linear2.bias")
    output: Tensor = functional.layer_norm(added, (width,), of("norm2.weight"), of("norm2.bias"))
    return output


def slow_logits(made: TemporalNetwork, modality: str, video: Tensor, texts: Tensor) -> Tensor:
    weights = {name: weight.detach() for name, weight in made.state_dict().items()}

    def mlp(name: str, x: Tensor) -> Tensor:
        for index in (0, 2):
            x = x @ weights[f"{modality}.{name}.{index}.weight"].T
            x = x + weights[f"{modality}.{name}.{index}.bias"]
            x = x.clamp(min=0) if index == 0 else x
        return x

    x = mlp("input", video)
    for layer in range(SMALL.layers):
        x = slow_layer(weights, f"{modality}.encoder.layers.{layer}", x)
    logits: Tensor = mlp("output", x) @ texts.T * weights[f"{modality}.scale"]
    return logits


@pytest.mark.parametrize("with_gradient", [True, False])
def test_forward_against_the_formula(with_gradient: bool) -> None:
    """Also without gradients, where torch fuses the layers."""
    made, inputs = network().eval(), embeddings(3, 7)
    seconds = [7, 4, 1]
    padding = torch.arange(7) >= torch.tensor(seconds)[:, None]
    with torch.set_grad_enabled(with_gradient):
        found = made(inputs, TEXTS, padding)
    for index, modality in enumerate(("audio", "visual")):
        for video, length in enumerate(seconds):
            expected = slow_logits(made, modality, inputs[index][video, :length], TEXTS[index])
            one = found[index][video, :length].detach()
            torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


def test_padding_changes_no_second() -> None:
    made, inputs = network().eval(), embeddings(1, 7)
    padding = torch.arange(7)[None] >= 4
    whole = made(inputs, TEXTS, padding)
    cut = made((inputs[0][:, :4], inputs[1][:, :4]), TEXTS)
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one[:, :4], other, rtol=0, atol=1e-12)


def test_dropout_is_in_all_four_places() -> None:
    layer = TemporalNetwork(AUDIO, VISUAL, TeacherOptions()).audio.encoder.layers[0]
    assert layer.self_attn.dropout == 0.3
    assert [layer.dropout.p, layer.dropout1.p, layer.dropout2.p] == [0.3] * 3
    assert not layer.norm_first


# ---- its loss


def test_loss_against_loops() -> None:
    videos, seconds = [6, 3], 6
    logits = some(2, seconds, CLASSES), some(2, seconds, CLASSES, seed=1)
    labels = (some(2, seconds, CLASSES, seed=2) > 1).double()
    valid = torch.arange(seconds) < torch.tensor(videos)[:, None]
    labels = labels * valid[..., None]
    total, count = 0.0, 0
    for video, length in enumerate(videos):
        for second in range(length):
            for index in range(CLASSES):
                heard, seen = (1 / (1 + math.exp(-z[video, second, index].item())) for z in logits)
                occurs = any(labels[video, other, index] == 1 for other in range(length))
                present = labels[video, second, index] == 1
                probability = heard * seen if present else 1 - heard * seen
                total += (5.0 if occurs else 1.0) * -math.log(probability)
                count += 1
    found = temporal_loss(logits, labels, valid, SMALL.positive_weight)
    assert found.item() == pytest.approx(total / count, rel=1e-12)
    assert (labels.amax(1) == 0).any()
    assert (labels.amax(1) == 1).any()


def test_impossible_events_cost_at_most_100() -> None:
    """No clamp of the probabilities, only torch's bound of the logarithm."""
    never = torch.full((1, 1, 1), -1000.0, dtype=torch.float64)
    labels = torch.ones(1, 1, 1, dtype=torch.float64)
    assert heard_and_seen((never, never)).item() == 0
    loss = temporal_loss((never, never), labels, torch.ones(1, 1, dtype=torch.bool), 1.0)
    assert loss.item() == 100


# ---- thresholds and soft labels


def slow_threshold(logits: NDArray[np.float64], truth: NDArray[np.uint8], weak: list[int]) -> float:
    """Try every cut of one class [N, T], counting all videos."""
    cells = [
        (logits[video, second] if weak[video] else -math.inf, truth[video, second])
        for video in range(len(weak))
        for second in range(logits.shape[1])
    ]
    known = sorted({logit for logit, _ in cells if logit > -math.inf})
    cuts = [-math.inf] + [(low + high) / 2 for low, high in pairwise(known)]
    best, chosen = -1.0, -math.inf
    for cut in cuts:  # from the lowest; a later one must be better
        found = sum(logit > cut and logit > -math.inf for logit, _ in cells)
        hits = sum(logit > cut and logit > -math.inf and bool(event) for logit, event in cells)
        events = sum(bool(event) for _, event in cells)
        f1 = 2 * hits / (found + events) if found + events else 0.0
        if f1 > best:
            best, chosen = f1, cut
    return chosen


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_thresholds_against_every_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.integers(-4, 5, (2, 4, 3, 2)).astype(float)  # many equal ones
    truth = (random.random(logits.shape) < 0.4).astype(np.uint8)
    weak = (random.random((4, 2)) < 0.7).astype(np.uint8)
    found = f1_thresholds(logits, truth, weak)
    for modality, index in np.ndindex(2, 2):
        expected = slow_threshold(
            logits[modality, ..., index], truth[modality, ..., index], weak[:, index].tolist()
        )
        assert found[modality, index] == expected


def test_cut_below_everything_is_minus_infinity() -> None:
    logits = np.array([[[[1.0], [2.0]], [[9.0], [9.0]]]])  # one modality, two videos, one class
    truth = np.array([[[[1], [1]], [[0], [0]]]], np.uint8)
    assert f1_thresholds(logits, truth, np.array([[1], [0]])).tolist() == [[-math.inf]]
    assert f1_thresholds(logits, truth, np.array([[1], [1]])).tolist() == [[-math.inf]]
    truth[0, 0, 0] = 0  # now 2 is right and 1 is wrong
    assert f1_thresholds(logits, truth, np.array([[1], [0]])).tolist() == [[1.5]]
    nothing = np.zeros_like(truth)
    assert f1_thresholds(logits, nothing, np.array([[1], [0]])).tolist() == [[-math.inf]]


def test_soft_label_at_its_threshold_is_a_half() -> None:
    logits = np.array([[[2.0, -3.0], [4.0, 0.0]]], np.float32)
    thresholds = finite_thresholds(np.array([2.0, -np.inf]), logits)
    assert thresholds.tolist() == [2.0, -4.0]  # one below the smallest logit of the class
    soft = soften(logits, thresholds)
    expected = [[0.5, 1 / (1 + math.exp(-0.5))], [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))]]
    np.testing.assert_allclose(soft[0], expected, rtol=1e-6)
