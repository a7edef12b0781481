"""Scores of every class: precision, recall, F1 of segments and of events, and how often it occurs.

Axes: N videos, T segments, C classes.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import Labels
from pipeline.evaluation.bootstrap import Floats
from pipeline.evaluation.metrics import class_intervals, score
from pipeline.report.methods import MethodPredictions
from pipeline.report.tables import cell

CLASSES_FILE = "classes.csv"


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in one modality on the test split.

    Attributes
    ----------
    modality, name
        The modality and the class.
    videos, segments
        Number of videos and of segments with an annotated event of the class.
    precision, recall, f1
        Of its segments, in percent, pooled over videos; means over seeds. None where undefined.
    low, high
        95% bootstrap interval of F1 over videos.
    event_f1
        F1 of its events.
    """

    modality: str
    name: str
    videos: int
    segments: int
    precision: float | None
    recall: float | None
    f1: float | None
    low: float | None
    high: float | None
    event_f1: float | None


CLASS_COLUMNS = [each.name for each in fields(ClassScores)]


def class_scores(method: MethodPredictions, class_names: Sequence[str]) -> list[ClassScores]:
    """Return the scores of all classes on the test split, audio before visual."""
    parsed = method.by_split["test"]
    event_f1 = [score(*each.truth, *each.predicted).per_class["event"] for each in parsed]
    rows = []
    for track, modality in enumerate(MODALITIES):
        truth = parsed[0].truth[track]
        predicted = [each.predicted[track] for each in parsed]
        columns = [
            truth.any(axis=1).sum(axis=0).tolist(),
            (truth != 0).sum(axis=(0, 1)).tolist(),
            *_cells(_segment_scores(truth, predicted)),
            *_cells(100 * class_intervals(truth, predicted).T),
            *_cells(100 * _mean([by_modality[modality] for by_modality in event_f1])[None]),
        ]
        named = zip(class_names, *columns, strict=True)
        rows += [ClassScores(modality, name, *values) for name, *values in named]
    return rows


def _segment_scores(truth: Labels, predictions: Sequence[Labels]) -> Floats:
    """Return precision, recall and F1 ``[3, C]`` in percent, means over seeds."""
    annotated = (truth != 0).sum(axis=(0, 1))
    by_seed = []
    for predicted in predictions:
        correct = ((truth != 0) & (predicted != 0)).sum(axis=(0, 1))
        positive = (predicted != 0).sum(axis=(0, 1))
        with np.errstate(invalid="ignore"):
            shares = [correct / positive, correct / annotated, 2 * correct / (positive + annotated)]
        by_seed.append(100 * np.stack(shares))
    return _mean(by_seed)


def _mean(by_seed: Sequence[Floats]) -> Floats:
    """Return the mean over the seeds in which a value is defined."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        mean: Floats = np.nanmean(by_seed, axis=0)
    return mean


def _cells(columns: Floats) -> Iterator[list[float | None]]:
    return ([cell(value) for value in column] for column in columns.tolist())


def class_rows(method: str, scores: Sequence[ClassScores]) -> list[list[object]]:
    """Return the rows of a method in ``CLASSES_FILE``."""
    return [[method, *astuple(each)] for each in scores]
