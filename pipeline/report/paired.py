"""Whether the methods of a report differ: the paired bootstrap of ``significance``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.bootstrap import Floats
from pipeline.evaluation.metrics import LEVELS, score
from pipeline.report.methods import MethodPredictions
from pipeline.report.significance import (
    RESAMPLES,
    MetricSignificance,
    PairedComparison,
    assess,
    pair_csv,
)

PAIRS_FILE = "pairs.csv"
HOW_PAIRED = (
    "Difference of the first method to the second in Type@AV on the test split, in percentage "
    f"points, with its 95% interval and p value, from {RESAMPLES:,} paired resamples of videos and "
    "seeds. The p values are corrected for the number of pairs, {pairs}, with Holm's method. Bold: "
    "p below 0.05."
)


@dataclass(frozen=True)
class MethodScores:
    """Type@AV of every test video of one method.

    Attributes
    ----------
    name
        Display name.
    videos
        The N videos, sorted by name.
    table : ``[S, M, N]``
        Scores of every seed at every level, in percent.
    """

    name: str
    videos: tuple[str, ...]
    table: Floats


def method_scores(method: MethodPredictions) -> MethodScores:
    """Return a method's scores on the test split."""
    parsed = method.by_split["test"]
    order = np.argsort(parsed[0].names)
    found = [score(*each.truth, *each.predicted).per_video for each in parsed]
    table = 100 * np.stack(
        [np.stack([levels[level]["type"][order] for level in LEVELS]) for levels in found]
    )
    return MethodScores(method.name, tuple(parsed[0].names[row] for row in order), table)


@dataclass(frozen=True)
class PairTest:
    """What can be said of every pair of methods.

    Attributes
    ----------
    names
        The methods, best first by segment-level Type@AV.
    videos
        Number of test videos that all of them were scored on.
    by_level
        Level to the pairs, as indices of ``names``.
    """

    names: tuple[str, ...]
    videos: int
    by_level: Mapping[str, MetricSignificance]

    @property
    def caption(self) -> str:
        """How the pairs were tested."""
        count = len(self.names)
        return HOW_PAIRED.format(pairs=count * (count - 1) // 2)

    def of_best(self) -> list[tuple[str, list[PairedComparison]]]:
        """Return the other methods, each with the best one's difference to it at every level."""
        rows: dict[str, list[PairedComparison]] = {name: [] for name in self.names[1:]}
        for found in self.by_level.values():
            for pair in found.pairs:
                if pair.first == 0:
                    rows[self.names[pair.second]].append(pair)
        return list(rows.items())

    def interval(self, level: str, first: str, second: str) -> str:
        """Return the 95% interval of a difference as text; empty if either was not tested."""
        if not {first, second} <= set(self.names):
            return ""
        pair = self.by_level[level].between(self.names.index(first), self.names.index(second))
        return f"{pair.low:+.1f} to {pair.high:+.1f}"

    def csv(self) -> tuple[list[str], list[list[object]]]:
        """Return every pair as a table."""
        return pair_csv(
            self.names, {(level, "type"): found for level, found in self.by_level.items()}
        )


def compare_all(methods: Sequence[MethodScores]) -> PairTest | None:
    """Return the tests of all pairs on the videos that all share; None for a single method."""
    shared = sorted(set.intersection(*(set(method.videos) for method in methods)))
    if len(methods) < 2 or not shared:
        return None
    tables = {
        method.name: method.table[:, :, np.searchsorted(method.videos, shared)]
        for method in methods
    }
    names = sorted(tables, key=lambda name: -float(tables[name][:, 0].mean()))
    found = assess([tables[name] for name in names])
    return PairTest(tuple(names), len(shared), dict(zip(LEVELS, found, strict=True)))
