"""Confusion of classes with each other, and of modalities.

Axes: N videos, T segments, C classes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import Labels
from pipeline.report.methods import MethodPredictions

CLASS_CONFUSION_FILE, MODALITY_CONFUSION_FILE = "class_confusion.csv", "modality_confusion.csv"
# State to audio + 2 visual, in the order of rows and columns.
STATES = {"audible only": 1, "visible only": 2, "both": 3, "neither": 0}
NOTHING = "nothing"  # after the classes: what is annotated or predicted in none of them


def class_confusion(truth: Labels, predictions: Sequence[Labels]) -> NDArray[np.float64]:
    """Count annotated against predicted classes, in segments.

    A segment may have several classes. Those that are annotated and predicted are correct. Each
    annotated class that is missing counts as taken for the wrongly predicted classes of the same
    segment, in equal parts, or for nothing if there are none. A wrongly predicted class of a
    segment that misses no class counts as taken from nothing.

    Parameters
    ----------
    truth : ``[N, T, C]``
        Annotated labels of one modality.
    predictions
        Predicted labels of each seed.

    Returns
    -------
    ndarray ``[C + 1, C + 1]``
        Counts by annotated (row) and predicted (column) class, then nothing; means over seeds. A
        row of a class sums to its annotated segments.
    """
    mean: NDArray[np.float64] = np.mean(
        [_class_counts(truth, predicted) for predicted in predictions], axis=0
    )
    return mean


def _class_counts(truth: Labels, predicted: Labels) -> NDArray[np.float64]:
    classes = truth.shape[2]
    annotated, found = (labels.reshape(-1, classes) != 0 for labels in (truth, predicted))
    missed, extra = annotated & ~found, found & ~annotated
    extras = extra.sum(axis=1, keepdims=True)
    counts = np.zeros((classes + 1, classes + 1))
    counts[:-1, :-1] = missed.T.astype(np.float64) @ (extra / np.maximum(extras, 1))
    counts[:-1, :-1] += np.diag((annotated & found).sum(axis=0))
    counts[:-1, -1] = missed[extras[:, 0] == 0].sum(axis=0)
    counts[-1, :-1] = extra[~missed.any(axis=1)].sum(axis=0)
    return counts


def modality_confusion(truth: Labels, predictions: Sequence[Labels]) -> NDArray[np.float64]:
    """Count the segments of any class by annotated and predicted modality.

    Parameters
    ----------
    truth : ``[2, N, T, C]``
        Annotated labels, audio before visual.
    predictions
        Predicted labels ``[2, N, T, C]`` of each seed.

    Returns
    -------
    ndarray ``[4, 4]``
        Counts by annotated (row) and predicted (column) state, in the order of ``STATES``,
        averaged over seeds. Segments with neither are not counted; they would dominate.
    """
    order = list(STATES.values())
    counts = [
        np.bincount((4 * _states(truth) + _states(predicted)).ravel(), minlength=16)
        for predicted in predictions
    ]
    mean: NDArray[np.float64] = np.mean(counts, axis=0).reshape(4, 4)[order][:, order]
    mean[-1, -1] = 0
    return mean


def _states(labels: Labels) -> NDArray[np.int64]:
    present = (labels != 0).astype(np.int64)
    states: NDArray[np.int64] = present[0] + 2 * present[1]
    return states


def confusions(method: MethodPredictions) -> dict[str, NDArray[np.float64]]:
    """Return a method's confusion on the test split: of classes by modality, and of ``states``."""
    parsed = method.by_split["test"]
    truth, predictions = parsed[0].truth, [each.predicted for each in parsed]
    of_classes = {
        modality: class_confusion(truth[track], [each[track] for each in predictions])
        for track, modality in enumerate(MODALITIES)
    }
    return {**of_classes, "states": modality_confusion(truth, predictions)}


def sparse(counts: NDArray[np.float64]) -> list[list[float]]:
    """Return row, column and value of the cells that are not 0."""
    return [
        [int(row), int(column), round(float(counts[row, column]), 1)]
        for row, column in np.argwhere(counts)
    ]
