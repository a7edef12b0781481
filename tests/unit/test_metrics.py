import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference_metrics import (
    count_events,
    matches,
    maximal_runs,
    reference_metrics,
    reference_only_metrics,
)

from pipeline.evaluation.metrics import LEVELS, METRICS, class_intervals, score, score_only


def labels(*lines: str) -> np.ndarray:
    """One class a line of 0 and 1: an array ``[1, T, C]``."""
    return np.array([[list(map(int, line)) for line in lines]], np.uint8).transpose(0, 2, 1)


def event_audio(truth: str, predicted: str) -> float:
    empty = labels("0" * len(truth))
    return score(labels(truth), empty, labels(predicted), empty).metrics()["event"]["audio"]


@st.composite
def four_labelings(draw: st.DrawFn) -> list[np.ndarray]:
    shape = tuple(draw(st.integers(1, top)) for top in (3, 12, 4))
    # Long runs are rare among independent bits; comparing walks to a level makes them.
    steps = [draw(arrays(np.int8, shape, elements=st.integers(-1, 1))) for _ in range(4)]
    level = draw(st.integers(-1, 2))
    return [np.cumsum(step, axis=1) > level for step in steps]


@settings(deadline=None, max_examples=200)
@given(four_labelings())
def test_equal_to_the_obvious_reference(four: list[np.ndarray]) -> None:
    fast, slow = score(*four).metrics(), reference_metrics(*four)
    for level, metric in itertools.product(LEVELS, METRICS):
        assert fast[level][metric] == pytest.approx(slow[level][metric], abs=1e-9)


def test_equal_to_the_reference_on_many_random_videos() -> None:
    random = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.8):
        four = [random.random((20, 10, 25)) < density for _ in range(4)]
        fast, slow = score(*four).metrics(), reference_metrics(*four)
        for level, metric in itertools.product(LEVELS, METRICS):
            assert fast[level][metric] == pytest.approx(slow[level][metric], abs=1e-9)


def test_only_metrics_equal_the_obvious_reference_on_many_random_videos() -> None:
    random = np.random.default_rng(3)
    for density in (0.05, 0.4, 0.8):
        four = [random.random((20, 10, 6)) < density for _ in range(4)]
        fast, slow = score_only(*four).metrics(), reference_only_metrics(*four)
        for level, metric in itertools.product(LEVELS, METRICS):
            assert fast[level][metric] == pytest.approx(slow[level][metric], abs=1e-9)


def test_only_metrics_of_a_hand_worked_video() -> None:
    truth_audio, truth_visual = labels("1111000000"), labels("0011110000")
    predicted_audio, predicted_visual = labels("1111110000"), labels("0011110000")
    metrics = score_only(truth_audio, truth_visual, predicted_audio, predicted_visual).metrics()
    segment = metrics["segment"]
    assert segment["audio"] == 100  # heard only: segments 0 and 1, predicted as such
    assert segment["visual"] == 0  # seen only: segments 4 and 5, predicted to be heard too
    assert segment["audio_visual"] == pytest.approx(100 * 2 * 2 / (2 + 4))
    assert segment["event"] == pytest.approx(100 * 2 * 2 / (2 + 2 + 2))
    assert segment["type"] == pytest.approx((100 + 0 + segment["audio_visual"]) / 3)


def test_every_pair_of_ten_segments_matches_one_to_one() -> None:
    """Counting from the predictions equals counting from the truth: 2TP + FP + FN is all runs."""
    patterns = (np.arange(1024)[:, None] >> np.arange(10) & 1).astype(bool)
    runs = (np.diff(patterns, axis=1, prepend=False) & patterns).sum(axis=1)
    truth, predicted = np.repeat(patterns, 1024, axis=0).T[None], np.tile(patterns.T, 1024)[None]
    empty = np.zeros_like(truth)
    by_pair = score(truth, empty, predicted, empty).per_class["event"]["audio"]
    all_runs = np.add.outer(runs, runs).ravel()
    matches = np.nan_to_num(by_pair) * all_runs / 2  # F = 2TP / (2TP + FP + FN)
    np.testing.assert_allclose(matches, matches.round(), atol=1e-9)
    swapped = matches.reshape(1024, 1024).T.ravel()
    np.testing.assert_allclose(matches, swapped, atol=1e-9)
    assert (matches <= np.minimum.outer(runs, runs).ravel() + 1e-9).all()
    np.testing.assert_allclose(matches[:: 1024 + 1], runs, atol=1e-9)


def test_every_pair_of_patterns_is_counted_as_by_the_reference() -> None:
    """The same as the slow reference (all 7-segment patterns)."""
    patterns = [list(bits) for bits in itertools.product([False, True], repeat=7)]
    for truth, predicted in itertools.product(patterns, patterns):
        hits, _, missed = count_events(truth, predicted)
        assert hits == len(maximal_runs(truth)) - missed
    truth, predicted = (
        np.array(side, bool).T[None]
        for side in zip(*itertools.product(patterns, repeat=2), strict=True)
    )
    assert truth.shape == (1, 7, 128 * 128)
    empty = np.zeros_like(truth)
    fast = score(truth, empty, predicted, empty).per_class["event"]["audio"]
    counted = [count_events(*pair) for pair in itertools.product(patterns, repeat=2)]
    for value, (hits, wrong, missed) in zip(fast, counted, strict=True):
        total = 2 * hits + wrong + missed
        assert np.isnan(value) if total == 0 else value == pytest.approx(2 * hits / total)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ("1111000000", "1100000000", 100.0),  # 2/4: exactly half is a match
        ("1111100000", "1100000000", 0.0),  # 2/5
        ("1111110000", "1101110000", 200 / 3),  # one run of 3 of 6 matches, one of 2 does not
        ("1000000001", "1000000001", 100.0),
        ("1111111111", "1111111111", 100.0),
        ("0000000000", "0000000001", 0.0),
        ("0000000000", "0000000000", 100.0),
    ],
)
def test_runs_match_from_half_their_union(truth: str, predicted: str, expected: float) -> None:
    assert event_audio(truth, predicted) == pytest.approx(expected)


def test_matching_reference_is_inclusive() -> None:
    assert matches((0, 4), (0, 2))
    assert not matches((0, 5), (0, 2))


def test_hand_worked_video() -> None:
    truth_audio = labels("1111000000", "0000000000")
    truth_visual = labels("0011000000", "0000011111")
    predicted_audio = labels("1100000000", "0000000011")
    predicted_visual = labels("0011000000", "0000000000")
    metrics = score(truth_audio, truth_visual, predicted_audio, predicted_visual).metrics()
    segment = metrics["segment"]
    assert segment["audio"] == pytest.approx(100 * (2 * 2 / 6 + 0) / 2)
    assert segment["visual"] == pytest.approx(100 * (1 + 0) / 2)
    assert segment["audio_visual"] == 0  # truth 0011.., predicted nothing
    assert segment["type"] == pytest.approx((segment["audio"] + segment["visual"]) / 3)
    assert segment["event"] == pytest.approx(100 * (2 * 4 / (6 + 4) + 0) / 2)
    assert metrics["event"]["audio"] == pytest.approx(50)
    assert metrics["event"]["event"] == pytest.approx(50)


def test_a_video_without_any_class_scores_one() -> None:
    nothing = np.zeros((4, 10, 3))
    something = nothing.copy()
    something[0, 3, 1] = 1
    metrics = score(something, nothing, nothing, nothing).metrics()
    for level in LEVELS:
        assert metrics[level] == {
            "audio": 75.0,
            "visual": 100.0,
            "audio_visual": 100.0,
            "type": pytest.approx(275 / 3),
            "event": 75.0,
        }


def test_per_class_pools_videos_and_marks_silent_classes() -> None:
    truth = np.zeros((2, 4, 3), np.uint8)
    truth[:, :2, 0] = truth[0, :, 1] = 1
    predicted = np.zeros_like(truth)
    predicted[0, :2, 0] = 1
    per_class = score(truth, truth, predicted, predicted).per_class
    np.testing.assert_allclose(per_class["segment"]["audio"], [2 * 2 / (2 + 4), 0, np.nan])
    np.testing.assert_allclose(per_class["event"]["visual"], [2 * 1 / (1 + 2), 0, np.nan])


def test_class_intervals_resample_videos_and_average_trainings() -> None:
    random = np.random.default_rng(2)
    truth = random.random((80, 10, 3)) < 0.3
    truth[:, :, 2] = False  # a class that never occurs
    trainings = [truth & (random.random(truth.shape) < share) for share in (0.5, 0.9)]
    intervals = class_intervals(truth, trainings)
    f1 = [score(truth, truth, found, found).per_class["segment"]["audio"] for found in trainings]
    mean = np.mean(f1, axis=0)[:2]
    assert (intervals[:2, 0] < mean).all()
    assert (mean < intervals[:2, 1]).all()
    assert (intervals[:2, 1] - intervals[:2, 0] < 0.2).all()
    assert np.isnan(intervals[2]).all()
    np.testing.assert_array_equal(intervals, class_intervals(truth, trainings))
    perfect = class_intervals(truth, [truth])
    np.testing.assert_array_equal(perfect[:2], 1)


def test_intervals_are_seeded_and_cover_the_mean() -> None:
    random = np.random.default_rng(1)
    four = [random.random((60, 10, 5)) < 0.4 for _ in range(4)]
    scores = score(*four)
    intervals, metrics = scores.intervals(), scores.metrics()
    assert intervals == score(*four).intervals()
    for level, metric in itertools.product(LEVELS, METRICS):
        low, high = intervals[level][metric]
        assert low < metrics[level][metric] < high
        per_video = scores.per_video[level][metric]
        spread = 100 * per_video.std() / np.sqrt(len(per_video))
        assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_intervals_of_equal_videos_have_no_width() -> None:
    video = np.ones((5, 10, 2))
    assert score(video, video, video, video).intervals()["event"]["type"] == [100.0, 100.0]


@pytest.mark.parametrize("shape", [(0, 10, 25), (3, 25)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for scorer in (score, score_only):
        with pytest.raises(ValueError, match="labels must have one shape"):
            scorer(*[np.zeros(shape)] * 4)
    with pytest.raises(ValueError, match="labels must have one shape"):
        score(*[np.zeros((2, 10, 3))] * 3, np.zeros((2, 9, 3)))
