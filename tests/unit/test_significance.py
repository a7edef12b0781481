"""Ranks, pairs and letters against slow, obvious references."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.bootstrap import BOOTSTRAP_SEED
from pipeline.report.significance import (
    CHUNK,
    PairedComparison,
    assess,
    compact_letters,
    compare_pairs,
    holm,
    rank_intervals,
    ranks,
    resampled_means,
    two_sided_p,
)


def slow_means(scores: list[np.ndarray], draws: int) -> np.ndarray:
    """Draw videos and seeds one by one, and average over both."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    methods, (_, metrics, videos) = len(scores), scores[0].shape
    means = np.zeros((draws, metrics, methods))
    counts = generator.multinomial(videos, np.full(videos, 1 / videos), draws)
    for method, of_method in enumerate(scores):
        seeds = len(of_method)
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), draws)
        for draw, metric in product(range(draws), range(metrics)):
            drawn_videos = np.repeat(np.arange(videos), counts[draw])
            drawn_seeds = np.repeat(np.arange(seeds), of_seeds[draw])
            values = [of_method[s, metric, v] for s in drawn_seeds for v in drawn_videos]
            means[draw, metric, method] = sum(values) / len(values)
    return means


def test_resamples_draw_the_same_videos_and_own_seeds() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.uniform(0, 100, (seeds, 2, 7)) for seeds in (1, 3, 2)]
    np.testing.assert_allclose(resampled_means(scores, 20), slow_means(scores, 20), atol=1e-8)


def test_chunks_are_all_drawn() -> None:
    scores = [np.random.default_rng(2).uniform(0, 100, (2, 1, 5))]
    means = resampled_means(scores, CHUNK + 7)
    assert means.shape == (CHUNK + 7, 1, 1)
    assert len(np.unique(means)) > 100


def test_seeds_and_videos_both_vary() -> None:
    by_seed = np.array([40.0, 60.0])[:, None, None] + np.zeros((2, 1, 9))
    by_video = np.linspace(40, 60, 9) + np.zeros((2, 1, 9))
    neither = np.full((2, 1, 9), 50.0)
    means = resampled_means([by_seed, by_video, neither], 400)[:, 0]
    assert set(means[:, 0]) == {40.0, 50.0, 60.0}
    # The variance of a mean of nine draws is a ninth of the population's.
    assert means[:, 1].std() == pytest.approx(by_video[0].std() / 3, rel=0.15)
    assert means[:, 2].std() == 0


def test_p_is_twice_the_rarer_side() -> None:
    assert two_sided_p(np.array([1.0] * 999)) == 2 / 1000
    assert two_sided_p(np.array([1.0] * 98 + [-1.0])) == 2 * 2 / 100
    assert two_sided_p(np.array([-1.0] * 97 + [0.0, 1.0])) == 2 * 3 / 100
    assert two_sided_p(np.zeros(99)) == 1


def test_holm_of_a_worked_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, and never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


p_values = st.lists(st.floats(0, 1), max_size=12)


@given(p_values)
def test_holm_rejects_what_its_definition_rejects(values: list[float]) -> None:
    level = 0.05
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if (len(values) - step) * values[index] > level:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(values)) if p <= level} == rejected


def slow_ranks(scores: list[float]) -> list[float]:
    """Place every method in a sorted list; equal ones share the mean of their places."""
    ordered = sorted(scores, reverse=True)
    places = {
        value: [place for place, other in enumerate(ordered, 1) if other == value]
        for value in scores
    }
    return [sum(places[value]) / len(places[value]) for value in scores]


@given(st.lists(st.integers(0, 3).map(float), min_size=1, max_size=8))
def test_ranks_are_places_in_a_sorted_list(scores: list[float]) -> None:
    assert ranks(np.array([scores])).tolist() == [slow_ranks(scores)]


def test_rank_intervals_cover_95_of_100_resamples() -> None:
    # The second method is first in 40 of 1,000 resamples and the third second in 20.
    resampled = np.tile([3.0, 2.0, 1.0], (1000, 1))
    resampled[:40] = [2.0, 3.0, 1.0]
    resampled[40:60] = [3.0, 1.0, 2.0]
    first, second, third = rank_intervals(resampled)
    assert (first.mean, first.low, first.high) == pytest.approx((1.04, 1, 2))
    assert (second.mean, second.low, second.high) == pytest.approx((1.98, 1, 2))
    assert (third.mean, third.low, third.high) == pytest.approx((2.98, 3, 3))
    assert str(second) == "2.0 [1, 2]"


def slow_groups(count: int, differing: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Try all subsets: those without a differing pair to which no method can be added."""
    fine = [
        frozenset(group)
        for size in range(1, count + 1)
        for group in combinations(range(count), size)
        if not any(pair in differing for pair in combinations(group, 2))
    ]
    return {group for group in fine if not any(group < other for other in fine)}


@st.composite
def differences(draw: st.DrawFn) -> tuple[int, set[tuple[int, int]]]:
    count = draw(st.integers(1, 7))
    pairs = list(combinations(range(count), 2))
    return count, draw(st.sets(st.sampled_from(pairs))) if pairs else set()


@settings(deadline=None)
@given(differences())
def test_letters_are_the_largest_groups_that_do_not_differ(
    case: tuple[int, set[tuple[int, int]]],
) -> None:
    count, differing = case
    letters = compact_letters(count, differing)
    used = set("".join(letters))
    groups = {
        frozenset(method for method in range(count) if letter in letters[method]) for letter in used
    }
    assert groups == slow_groups(count, differing)
    for first, second in combinations(range(count), 2):
        share = bool(set(letters[first]) & set(letters[second]))
        assert share == ((first, second) not in differing)


def test_letters_of_the_textbook_case() -> None:
    # The best differs from the worst alone.
    assert compact_letters(3, [(0, 2)]) == ("a", "ab", "b")
    assert compact_letters(1, []) == ("a",)


def test_pairs_are_those_of_their_resamples() -> None:
    rng = np.random.default_rng(3)
    resampled = rng.normal([52.0, 50.0, 49.9], 0.4, (4000, 3))
    pairs = list(compare_pairs(np.array([52.0, 50.0, 49.9]), resampled))
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.is_significant for pair in pairs] == [True, True, False]
    assert [pair.p_holm for pair in pairs] == holm([pair.p for pair in pairs])
    gap = np.sort(resampled[:, 0] - resampled[:, 1])
    assert pairs[0].difference == 2
    assert (pairs[0].low, pairs[0].high) == pytest.approx((gap[100], gap[3899]), abs=0.02)


def test_a_pair_the_other_way_round_has_the_other_sign() -> None:
    scores = np.random.default_rng(8).uniform(0, 100, (3, 2, 1, 30))
    [metric] = assess(list(scores), draws=300)
    for first, second in combinations(range(3), 2):
        there, back = metric.between(first, second), metric.between(second, first)
        assert (there.first, there.second) == (back.second, back.first) == (first, second)
        assert there.difference == pytest.approx(scores[first].mean() - scores[second].mean())
        assert (back.low, back.high) == (-there.high, -there.low)
        assert back.difference == -there.difference
        assert (back.p, back.p_holm) == (there.p, there.p_holm)


def test_a_difference_is_shown_with_its_sign_and_p_value() -> None:
    pair = PairedComparison(0, 1, 1.23, -0.5, 3.0, 0.01, 0.0204)
    assert str(pair) == "+1.2 [-0.5, +3.0] p = 0.020"
    equal = PairedComparison(0, 1, 0.0, 0.0, 0.0, 1e-5, 1e-4)
    assert str(equal.reversed()) == "+0.0 [+0.0, +0.0] p < 0.001"


def test_equal_methods_share_everything() -> None:
    scores = np.random.default_rng(4).uniform(0, 100, (1, 2, 40))
    for metric in assess([scores, scores.copy()], draws=300):
        assert metric.pairs == (PairedComparison(0, 1, 0.0, 0.0, 0.0, 1.0, 1.0),)
        assert metric.letters == ("a", "a")
        assert {(rank.mean, rank.low, rank.high) for rank in metric.ranks} == {(1.5, 1.5, 1.5)}


def test_a_better_method_is_told_from_a_worse_one() -> None:
    scores = np.random.default_rng(5).uniform(0, 90, (3, 1, 60))
    [metric] = assess([scores + 10, scores], draws=400)
    assert metric.letters == ("a", "b")
    assert [(rank.low, rank.high) for rank in metric.ranks] == [(1, 1), (2, 2)]


def test_unlucky_seeds_keep_methods_from_differing() -> None:
    # Better on every video on average, but by a single seed.
    videos = np.random.default_rng(6).uniform(0, 50, 200)
    steady = np.stack([videos, videos, videos])[:, None]
    lucky = np.stack([videos, videos, videos + 30])[:, None]
    [metric] = assess([lucky, steady], draws=400)
    assert metric.pairs[0].low == 0
    assert metric.letters == ("a", "a")


def test_one_method_has_rank_one() -> None:
    [metric] = assess([np.full((2, 1, 5), 50.0)], draws=10)
    assert (metric.pairs, metric.letters) == ((), ("a",))
    assert metric.ranks[0].mean == 1
