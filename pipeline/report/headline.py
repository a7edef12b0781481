"""The headline of the report: the best method, and by how much it leads the runner-up."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.metrics import LEVELS
from pipeline.report.paired import PairTest
from pipeline.report.tables import ResultRow, Score


@dataclass(frozen=True)
class Lead:
    """The best trained method at one level by Type@AV on the test split.

    Attributes
    ----------
    level
        ``segment`` or ``event``.
    name, score
        The method and its score.
    against
        A sentence for each result that it is compared with: the runner-up, and the pseudo-labels.
    """

    level: str
    name: str
    score: Score
    against: tuple[str, ...]


def leads(rows: Sequence[ResultRow], pairs: PairTest | None) -> list[Lead]:
    """Return the best method at each level; ``rows`` are those of the test split."""
    return [_lead(rows, level, pairs) for level in LEVELS]


def _lead(rows: Sequence[ResultRow], level: str, pairs: PairTest | None) -> Lead:
    def score_of(row: ResultRow) -> Score:
        return row.scores[level]["type"]

    trained = [row for row in rows if row.seeds and row.is_ranked]
    best, *others = sorted(trained, key=lambda row: -score_of(row).mean)
    labels = next(row for row in rows if not row.seeds)
    against = []
    for other in [*others[:1], labels]:
        interval = pairs.interval(level, best.name, other.name) if pairs else ""
        sentence = _difference(score_of(best), score_of(other), other.name)
        against.append(sentence + (f"; difference {interval} (95% interval)" if interval else ""))
    return Lead(level, best.name, score_of(best), tuple(against))


def _difference(score: Score, other: Score, name: str) -> str:
    gap = f"{abs(score.mean - other.mean):.1f}"
    named = f"{name} ({other.value})"
    if float(gap) == 0:
        return f"equal to {named}"
    return f"{gap} {'above' if score.mean > other.mean else 'below'} {named}"
