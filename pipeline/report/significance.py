"""Which methods differ and how they rank: one bootstrap over videos and seeds for all of them.

Sources: the paired bootstrap of F1 scores, Koehn (EMNLP 2004) and Berg-Kirkpatrick, Burkett & Klein
(EMNLP 2012); p values with one added to the counts, Davison & Hinkley, "Bootstrap Methods and their
Application" (1997), eq. 4.11; the correction for many comparisons, Holm (Scandinavian Journal of
Statistics 6, 1979); letters, Piepho (Journal of Computational and Graphical Statistics 13, 2004).
Axes: K methods, S seeds of one method, M metrics, N videos, B resamples.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from string import ascii_letters

import numpy as np

from pipeline.evaluation.bootstrap import (
    BOOTSTRAP_SEED,
    CONFIDENCE,
    Floats,
    draw_resamples,
    percentile_interval,
)

# Enough for Holm's smallest level, 0.05 / pairs, with up to 32 methods.
RESAMPLES = 20_000
CHUNK = 1_000
SIGNIFICANCE = 1 - CONFIDENCE
# Smallest p value that is shown as it is.
SHOWN_P = 0.001
# Decimals of resampled means in percent; without rounding, equal methods differ by float error.
RESAMPLED_DECIMALS = 9


@dataclass(frozen=True)
class PairedComparison:
    """Comparison of two methods in one metric.

    Attributes
    ----------
    first, second
        Indices of the methods.
    difference
        Score of the first minus that of the second, in percentage points.
    low, high
        95% percentile interval of the difference.
    p
        Two-sided p value of no difference.
    p_holm
        The same, corrected for the number of pairs.
    """

    first: int
    second: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float

    def __str__(self) -> str:
        p = "p < 0.001" if self.p_holm < SHOWN_P else f"p = {self.p_holm:.3f}"
        return f"{self.difference:+.1f} [{self.low:+.1f}, {self.high:+.1f}] {p}"

    @property
    def is_significant(self) -> bool:
        """Whether the methods differ at the 5% level, corrected for the number of pairs."""
        return self.p_holm < SIGNIFICANCE

    def reversed(self) -> "PairedComparison":
        """Return the comparison of the second method with the first."""
        # Subtracted, because -0.0 would be shown with its sign.
        gaps = 0 - self.difference, 0 - self.high, 0 - self.low
        return PairedComparison(self.second, self.first, *gaps, self.p, self.p_holm)


@dataclass(frozen=True)
class RankInterval:
    """Rank of a method over the resamples; 1 is best, and equal methods share the mean rank."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} {self.interval}"

    @property
    def interval(self) -> str:
        """The 95% interval as text."""
        return f"[{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class MetricSignificance:
    """What can be said of the K methods in one metric.

    Attributes
    ----------
    pairs
        All K (K - 1) / 2 comparisons.
    letters
        For each method its letters: methods with a letter in common do not differ significantly.
    ranks
        For each method its rank.
    """

    pairs: tuple[PairedComparison, ...]
    letters: tuple[str, ...]
    ranks: tuple[RankInterval, ...]

    def between(self, first: int, second: int) -> PairedComparison:
        """Return the comparison of one method with another."""
        ends = sorted((first, second))
        [pair] = (pair for pair in self.pairs if [pair.first, pair.second] == ends)
        return pair if pair.first == first else pair.reversed()


# Level and metric to what can be said of the methods.
Tested = Mapping[tuple[str, str], MetricSignificance]


def assess(scores: Sequence[Floats], draws: int = RESAMPLES) -> tuple[MetricSignificance, ...]:
    """Return the significance of each of the M metrics.

    Parameters
    ----------
    scores
        For each method, its scores in percent ``[S, M, N]``. All methods have the same videos; the
        number of seeds may differ.
    draws
        Number of resamples.
    """
    observed = np.stack([of_method.mean(axis=(0, 2)) for of_method in scores])
    resampled = resampled_means(scores, draws)
    return tuple(
        _assess_metric(observed[:, metric], resampled[:, metric])
        for metric in range(observed.shape[1])
    )


def resampled_means(scores: Sequence[Floats], draws: int) -> Floats:
    """Return the mean score of every method in each resample, ``[B, M, K]``.

    A resample draws videos with replacement, the same ones for all methods, and for each method
    its seeds with replacement. One seed has no variation.

    Parameters
    ----------
    scores
        For each method, its scores ``[S, M, N]``.
    draws
        Number of resamples.
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    chunks = [
        _means_of_chunk(scores, min(CHUNK, draws - start), generator)
        for start in range(0, draws, CHUNK)
    ]
    means: Floats = np.concatenate(chunks).round(RESAMPLED_DECIMALS)
    return means


def _means_of_chunk(scores: Sequence[Floats], draws: int, generator: np.random.Generator) -> Floats:
    count = scores[0].shape[2]
    videos = draw_resamples(count, draws, generator) / count
    means = []
    for of_method in scores:
        seeds, metrics, _ = of_method.shape
        by_seed = (videos @ of_method.reshape(-1, count).T).reshape(draws, seeds, metrics)
        weights = draw_resamples(seeds, draws, generator) / seeds
        means.append((weights[:, :, None] * by_seed).sum(axis=1))
    return np.stack(means, axis=2)


def _assess_metric(observed: Floats, resampled: Floats) -> MetricSignificance:
    """Return the significance of one metric.

    Parameters
    ----------
    observed : ``[K]``
        Score of each method.
    resampled : ``[B, K]``
        Its score in each resample.
    """
    pairs = tuple(compare_pairs(observed, resampled))
    differing = [(pair.first, pair.second) for pair in pairs if pair.is_significant]
    return MetricSignificance(
        pairs=pairs,
        letters=compact_letters(len(observed), differing),
        ranks=tuple(rank_intervals(resampled)),
    )


def compare_pairs(observed: Floats, resampled: Floats) -> Iterator[PairedComparison]:
    """Yield the comparison of each pair of methods; see ``_assess_metric``."""
    pairs = list(combinations(range(len(observed)), 2))
    gaps = [resampled[:, first] - resampled[:, second] for first, second in pairs]
    p_values = [two_sided_p(gap) for gap in gaps]
    for (first, second), gap, p, p_holm in zip(pairs, gaps, p_values, holm(p_values), strict=True):
        [(low, high)] = percentile_interval(gap[:, None]).tolist()
        difference = float(observed[first] - observed[second])
        yield PairedComparison(first, second, difference, low, high, p, p_holm)


def two_sided_p(gaps: Floats) -> float:
    """Return the p value of no difference from resampled differences ``[B]``.

    It is twice the share of resamples on the rarer side of 0, where 0 counts for both sides.
    """
    rarer = min((gaps <= 0).sum(), (gaps >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(gaps)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down procedure, in the same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def compact_letters(count: int, differing: Collection[tuple[int, int]]) -> tuple[str, ...]:
    """Return the letters of each method: two methods share one if and only if they do not differ.

    Piepho's insert-and-absorb algorithm. There is one letter for each largest set of methods that
    do not differ among themselves, in the order of the methods.

    Parameters
    ----------
    count
        Number of methods.
    differing
        Pairs of methods that differ.
    """
    groups = [frozenset(range(count))]
    for pair in differing:
        halves = [group - {one} for group in groups if group.issuperset(pair) for one in pair]
        groups = [group for group in groups if not group.issuperset(pair)]
        for half in sorted(halves, key=len, reverse=True):
            if not any(half <= group for group in groups):
                groups.append(half)
    groups.sort(key=sorted)
    return tuple(
        "".join(_letter(index) for index, group in enumerate(groups) if method in group)
        for method in range(count)
    )


def _letter(index: int) -> str:
    return ascii_letters[index] if index < len(ascii_letters) else f"({index + 1})"


def rank_intervals(resampled: Floats) -> Iterator[RankInterval]:
    """Yield the mean rank of each method over the resamples ``[B, K]``, and its 95% interval."""
    table = ranks(resampled)
    tail = SIGNIFICANCE / 2
    low, high = np.quantile(table, (tail, 1 - tail), axis=0, method="inverted_cdf")
    for values in zip(table.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True):
        yield RankInterval(*values)


def ranks(scores: Floats) -> Floats:
    """Return the rank of each method by its score ``[B, K]``; 1 is best, ties share the mean."""
    better = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(axis=2)
    table: Floats = 1 + better + (equal - 1) / 2
    return table


def pair_csv(names: Sequence[str], tested: Tested) -> tuple[list[str], list[list[object]]]:
    """Return compare_pairs.csv: every pair of methods in every metric.

    ``names`` are those of the methods in the order of ``tested``.
    """
    header = ["metric", "first", "second", "difference", "low", "high", "p", "p_holm"]
    header.append("is_significant")
    rows: list[list[object]] = []
    for (level, metric), found in tested.items():
        for pair in found.pairs:
            first, second, *values = astuple(pair)
            methods = (names[first], names[second])
            rows.append([f"{level}_{metric}", *methods, *values, int(pair.is_significant)])
    return header, rows
