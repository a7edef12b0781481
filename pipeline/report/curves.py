"""Scores on the validation split as the threshold moves, and precision against recall.

Axes: N videos, T segments, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import Labels
from pipeline.evaluation.metrics import LEVELS, score
from pipeline.report.methods import DecisionScores, MethodPredictions

SWEEP_FILE, PRECISION_RECALL_FILE = "threshold_sweep.csv", "precision_recall.csv"
SWEPT_SPLIT = "val"
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
# Thresholds of the precision-recall curve.
STEPS = 100
# More videos than this do not change a curve visibly; they are evenly spaced over the split.
MOST_VIDEOS = 1000


@dataclass(frozen=True)
class Curves:
    """What moving the threshold does to a method on the validation split.

    Attributes
    ----------
    videos
        Number of videos that were scored.
    own
        The method's own segment threshold.
    sweep
        Level to Type@AV in percent at each of ``THRESHOLDS``.
    precision_recall
        Modality to ``[threshold, recall, precision]`` in percent, of all classes together.
    """

    videos: int
    own: float
    sweep: dict[str, list[float]]
    precision_recall: dict[str, list[tuple[float, float, float]]]


def curves(method: MethodPredictions) -> Curves | None:
    """Return the curves of a method's first seed; None if its probabilities were not kept."""
    if SWEPT_SPLIT not in method.scores:
        return None
    truth, scores = method.by_split[SWEPT_SPLIT][0].truth, method.scores[SWEPT_SPLIT]
    videos = truth.shape[1]
    rows = np.unique(np.linspace(0, videos - 1, min(videos, MOST_VIDEOS)).round().astype(int))
    truth, scores = truth[:, rows], scores[:, rows]
    sweep: dict[str, list[float]] = {level: [] for level in LEVELS}
    for threshold in THRESHOLDS:
        found = score(*truth, *(scores >= np.float32(threshold))).metrics()
        for level in LEVELS:
            sweep[level].append(found[level]["type"])
    by_modality = {
        modality: precision_recall(truth[track], scores[track])
        for track, modality in enumerate(MODALITIES)
    }
    return Curves(len(rows), method.threshold, sweep, by_modality)


def precision_recall(truth: Labels, scores: DecisionScores) -> list[tuple[float, float, float]]:
    """Return threshold, and recall and precision in percent, of all classes together.

    Thresholds without a prediction, whose precision is undefined, are left out; without an
    annotated segment there are none.
    """
    edges = np.arange(STEPS + 1) / STEPS
    # The number of thresholds that a score reaches; scores may be negative.
    reached = np.searchsorted(edges.astype(np.float32), scores.ravel(), side="right")
    positive, correct = (
        _at_least(np.bincount(each, minlength=STEPS + 2))
        for each in (reached, reached[truth.ravel() != 0])
    )
    total = int((truth != 0).sum())
    return [
        (float(edge), 100 * float(right) / total, 100 * float(right) / float(all_))
        for edge, right, all_ in zip(edges, correct, positive, strict=True)
        if all_ and total
    ]


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many scores reach each threshold, from how many reach exactly k of them."""
    total: NDArray[np.int64] = counts[::-1].cumsum()[::-1][1:]
    return total
