"""Losses against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsers import losses


def test_video_bce_survives_probabilities_outside_0_and_1() -> None:
    loss = losses.video_bce(torch.tensor([1.7, -0.1]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    wrong = losses.video_bce(torch.tensor([2.0]), torch.tensor([0.0]))
    assert wrong.item() == pytest.approx(-math.log(1e-7), rel=0.05)


def test_segment_bce_is_the_mean_over_all_elements() -> None:
    logits, labels = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[1.0, 0.0]]])
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert losses.segment_bce(logits, labels).item() == pytest.approx(by_hand)


def test_segment_bce_of_soft_labels_weighs_positives_by_class() -> None:
    logits, labels = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.25, 1.0]]])
    weight = torch.tensor([3.0, 2.0])
    first = math.log(2) * (3 * 0.25 + 0.75)
    second = 2 * math.log(1 + math.exp(-1))
    loss = losses.segment_bce(logits, labels, weight)
    assert loss.item() == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(("power", "rare"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_rarity_is_a_power_of_negatives_over_positives(power: float, rare: float) -> None:
    labels = torch.zeros(2, 10, 3)
    labels[0, :4, 0] = 0.6  # soft: four positives among twenty
    labels[1, :4, 0] = 0.5  # undecided: not positive
    labels[:, :5, 1] = 1  # as many positives as negatives; the third class has none
    frequencies = losses.class_frequencies(labels)
    assert frequencies.tolist() == [0.2, 0.5, 0.0]
    expected = torch.tensor([rare, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(losses.rarity_weights(frequencies, power), expected)


def test_full_rarity_gives_positives_and_negatives_of_a_class_the_same_weight() -> None:
    labels = (torch.rand(50, 10, 4, generator=torch.Generator().manual_seed(0)) < 0.1).double()
    weight = losses.rarity_weights(losses.class_frequencies(labels), 1.0)
    torch.testing.assert_close((weight * labels).sum((0, 1)), (1 - labels).sum((0, 1)))


def test_smoothing_moves_visual_labels_as_han_does() -> None:
    labels = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(losses.smoothed(labels, 0.9), torch.tensor([0.05, 0.95]))
    torch.testing.assert_close(losses.smoothed(labels, 1.0), labels)


@pytest.mark.parametrize(
    ("cosine", "weight"),
    [(-0.3, 1), (-0.2, 1), (-0.1, math.e), (0.0, math.e), (0.5, 1.859141), (1.0, 1)],
)
def test_reweighting_table(cosine: float, weight: float) -> None:
    mu = torch.tensor(0.0)
    assert losses.reweighting(torch.tensor(cosine), mu).item() == pytest.approx(weight, rel=1e-5)


@given(st.floats(-1, 1, width=32))
def test_reweighting_is_off_at_mu_one(cosine: float) -> None:
    assert losses.reweighting(torch.tensor(cosine), torch.tensor(1.0)).item() == 1


@given(st.floats(-1, 1, width=32), st.floats(-2, 4, width=32))
def test_reweighting_never_falls_below_one(cosine: float, mu: float) -> None:
    assert losses.reweighting(torch.tensor(cosine), torch.tensor(mu)).item() >= 1 - 1e-5


def test_reweighting_pushes_mu_to_one_and_lets_no_gradient_through_the_cosine() -> None:
    cosine = torch.tensor([[[0.3, -0.1]]], requires_grad=True)
    mu = torch.tensor(0.0, requires_grad=True)
    losses.reweighting(cosine, mu).sum().backward()
    assert cosine.grad is None
    assert mu.grad is not None
    assert mu.grad < 0


def test_event_iou_counts_shared_over_all() -> None:
    audio = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    visual = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
    expected = torch.tensor([[[1 / 3, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(losses.event_iou(audio, visual), expected)


def test_event_iou_of_equal_labels_is_one_on_the_diagonal() -> None:
    labels = torch.eye(4)[None]
    torch.testing.assert_close(losses.event_iou(labels, labels), torch.eye(4)[None])


def test_leap_target_divides_by_most_simultaneous_events() -> None:
    audio = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    visual = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    half = 0.5 / 1.5 + 0.01
    torch.testing.assert_close(
        losses.leap_target(audio, visual), torch.tensor([[[half, 0.01], [0.01, 0.01]]])
    )
    silent = torch.zeros(1, 2, 2)
    torch.testing.assert_close(losses.leap_target(silent, silent), torch.full((1, 2, 2), 0.01))


def test_cosine_pairs_ignore_length() -> None:
    audio = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    visual = torch.tensor([[[1.0, 1.0], [-5.0, 0.0]]])
    root = 1 / math.sqrt(2)
    torch.testing.assert_close(
        losses.cosine_pairs(audio, visual), torch.tensor([[[root, -1.0], [root, 0.0]]])
    )


def test_similarity_loss_readings() -> None:
    cosine = torch.tensor([[[-0.1, 0.5]], [[1.0, -0.3]]])
    target = torch.zeros_like(cosine)
    mu = torch.tensor(0.0)
    plain = (0.01 + 0.25 + 1 + 0.09) / 4
    pair = (math.e * 0.01 + 1.859141 * 0.25 + 1 + 0.09) / 4
    peak = math.e
    video = ((peak + (1 - peak) * 0.2) * 0.13 + (peak + (1 - peak) * 0.35) * 0.545) / 2
    for reading, expected in (("none", plain), ("pair", pair), ("video", video)):
        loss = losses.similarity_loss(cosine, target, mu, reading)  # type: ignore[arg-type]
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_label_pooling_and_either() -> None:
    labels = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(losses.any_segment(labels), torch.tensor([[0.0, 1.0]]))
    assert losses.either(torch.tensor(0.5), torch.tensor(0.2)).item() == pytest.approx(0.6)
