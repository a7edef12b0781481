"""LLP's metrics: segment-level and event-level F1 of audio, visual and audio-visual events.

Source: Tian et al., ECCV 2020, and its published evaluator, which all later methods use. Scores are
computed per video, so bootstrap intervals over videos are cheap.

For one video and one of audio, visual and audio-visual (both at once), a class is active if it is
predicted or annotated anywhere. The video's score is the mean of ``2 TP / (2 TP + FP + FN)`` over
its active classes, or 1 if there are none. At segment level, TP, FP and FN count segments. At event
level they count maximal runs of segments; a predicted and an annotated run match if their
intersection is at least half their union. ``event`` (Event@AV) adds the counts of audio and visual
before dividing; ``type`` (Type@AV) is the mean of audio, visual and audio-visual. A split's score
is the mean over its videos, in percent.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.data.annotations import find_runs
from pipeline.evaluation.bootstrap import (
    BOOTSTRAP_DRAWS,
    BOOTSTRAP_SEED,
    CONFIDENCE,
    Floats,
    bootstrap_means,
    draw_resamples,
    percentile_interval,
)

LEVELS = ("segment", "event")
METRICS = ("audio", "visual", "audio_visual", "type", "event")

# Smallest intersection over union of matching runs, inclusive (published evaluator).
MATCHING_IOU = 0.5


@dataclass(frozen=True)
class Counts:
    """Counts of matches, per video and class.

    Attributes
    ----------
    true_positives : ``[N, C]``
        Segments or runs that are both predicted and annotated.
    positives : ``[N, C]``
        Number of predicted plus number of annotated ones, ``2 TP + FP + FN``.
    """

    true_positives: NDArray[np.int64]
    positives: NDArray[np.int64]

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.true_positives + other.true_positives, self.positives + other.positives
        )

    def per_video(self) -> Floats:
        """Return each video's score in [0, 1]: mean F1 over active classes, 1 without any."""
        active = self.positives > 0
        f1 = 2 * self.true_positives / np.maximum(self.positives, 1)
        score: Floats = np.where(
            active.any(axis=1), f1.sum(axis=1) / np.maximum(active.sum(axis=1), 1), 1.0
        )
        return score

    def per_class(self) -> Floats:
        """Return each class's F1 in [0, 1] over all videos, NaN if it is never active.

        The published evaluator has no scores per class. Counts are pooled over videos, because a
        class is active in too few of them for a mean over videos.
        """
        positives = self.positives.sum(axis=0)
        with np.errstate(invalid="ignore"):
            f1: Floats = 2 * self.true_positives.sum(axis=0) / positives
        return f1


@dataclass(frozen=True)
class Scores:
    """The scores of one split, in [0, 1].

    Attributes
    ----------
    per_video
        Level to metric to one score per video, ``[N]``.
    per_class
        Level to modality (``audio``, ``visual``) to one F1 per class, ``[C]``; NaN for a class that
        is neither predicted nor annotated.
    """

    per_video: Mapping[str, Mapping[str, Floats]]
    per_class: Mapping[str, Mapping[str, Floats]]

    @property
    def table(self) -> Floats:
        """Scores of every video, ``[M, N]``: all metrics at segment level, then at event level."""
        return np.stack([self.per_video[level][metric] for level in LEVELS for metric in METRICS])

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return level to metric to the split's score in percent, unrounded."""
        return {
            level: {metric: 100 * float(scores.mean()) for metric, scores in by_metric.items()}
            for level, by_metric in self.per_video.items()
        }

    def intervals(self) -> dict[str, dict[str, list[float]]]:
        """Return level to metric to the 95% bootstrap interval over videos, in percent."""
        ends = iter((100 * percentile_interval(bootstrap_means(self.table))).tolist())
        return {level: {metric: next(ends) for metric in METRICS} for level in LEVELS}


def class_intervals(
    truth: NDArray[np.generic],
    trainings: Sequence[NDArray[np.generic]],
) -> Floats:
    """Return the 95% bootstrap interval over videos of each class's segment-level F1.

    Parameters
    ----------
    truth : ``[N, T, C]``
        Annotated labels of one modality; nonzero is positive.
    trainings
        Predicted labels of each training run; a resample's F1 is the mean over runs.

    Returns
    -------
    ndarray ``[C, 2]``
        Low and high in [0, 1], over the resamples in which the class occurs; NaN if it never does.
    """
    weights = draw_resamples(len(truth), BOOTSTRAP_DRAWS, BOOTSTRAP_SEED)
    counts = [_count_segments(truth != 0, predicted != 0) for predicted in trainings]
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN) slice", RuntimeWarning)
        f1 = [2 * (weights @ each.true_positives) / (weights @ each.positives) for each in counts]
        tail = (1 - CONFIDENCE) / 2
        ends: Floats = np.nanquantile(np.nanmean(f1, axis=0), (tail, 1 - tail), axis=0).T
    return ends


def score(
    truth_audio: NDArray[np.generic],
    truth_visual: NDArray[np.generic],
    predicted_audio: NDArray[np.generic],
    predicted_visual: NDArray[np.generic],
) -> Scores:
    """Score the predicted labels of a split.

    Parameters
    ----------
    truth_audio, truth_visual, predicted_audio, predicted_visual : ``[N, T, C]``
        Labels; nonzero is positive, and N is at least 1.

    Raises
    ------
    ValueError
        The shapes differ, are not three-dimensional, or N is 0.
    """
    truth_a, truth_v, predicted_a, predicted_v = _checked(
        truth_audio, truth_visual, predicted_audio, predicted_visual
    )
    both = truth_a & truth_v, predicted_a & predicted_v
    return _scores((truth_a, predicted_a), (truth_v, predicted_v), both)


def score_only(
    truth_audio: NDArray[np.generic],
    truth_visual: NDArray[np.generic],
    predicted_audio: NDArray[np.generic],
    predicted_visual: NDArray[np.generic],
) -> Scores:
    """Score the audible-only and visible-only events of a split (CoLeaF, ECCV 2024).

    ``audio`` counts segments that are heard and not seen, ``visual`` those that are seen and not
    heard, in annotations and predictions alike; ``audio_visual`` stays as it is. ``type`` and
    ``event`` combine the three as ``score`` does.

    Parameters
    ----------
    truth_audio, truth_visual, predicted_audio, predicted_visual : ``[N, T, C]``
        Labels; nonzero is positive, and N is at least 1.

    Raises
    ------
    ValueError
        The shapes differ, are not three-dimensional, or N is 0.
    """
    truth_a, truth_v, predicted_a, predicted_v = _checked(
        truth_audio, truth_visual, predicted_audio, predicted_visual
    )
    return _scores(
        audio=(truth_a & ~truth_v, predicted_a & ~predicted_v),
        visual=(truth_v & ~truth_a, predicted_v & ~predicted_a),
        both=(truth_a & truth_v, predicted_a & predicted_v),
    )


def _checked(*labels: NDArray[np.generic]) -> list[NDArray[np.bool_]]:
    """Return labels as booleans; raise ValueError if they do not have one shape [N, T, C]."""
    shapes = {array.shape for array in labels}
    if len(shapes) != 1 or labels[0].ndim != 3 or not len(labels[0]):
        raise ValueError(f"labels must have one shape [N, T, C] with N > 0; got {sorted(shapes)}")
    return [array != 0 for array in labels]


# Annotated and predicted labels of a split, [N, T, C] each.
_Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def _scores(audio: _Pair, visual: _Pair, both: _Pair) -> Scores:
    """Score three kinds of events, each by its annotated and predicted labels."""
    per_video, per_class = {}, {}
    for level, count in zip(LEVELS, (_count_segments, _count_events), strict=True):
        counts = [count(*pair) for pair in (audio, visual, both)]
        scores = [each.per_video() for each in counts]
        scores += [np.mean(scores, axis=0), (counts[0] + counts[1]).per_video()]
        per_video[level] = dict(zip(METRICS, scores, strict=True))
        per_class[level] = {"audio": counts[0].per_class(), "visual": counts[1].per_class()}
    return Scores(per_video, per_class)


def _count_segments(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Counts:
    return Counts((truth & predicted).sum(axis=1), truth.sum(axis=1) + predicted.sum(axis=1))


def _count_events(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Counts:
    """Count the runs of labels ``[N, T, C]`` and the pairs of matching runs.

    A run matches at most one other: two disjoint maximal runs are separated by a gap, so they
    cannot both share half of a union with the same run. The number of pairs is therefore TP.
    """
    truth_cell, truth_length, truth_owner = _owned_segments(truth)
    cell, length, owner = _owned_segments(predicted)
    shared = (truth_owner >= 0) & (owner >= 0)
    # Encode each pair as one number: sorting numbers is several times faster than sorting columns.
    pairs, intersection = np.unique(
        truth_owner[shared] * len(cell) + owner[shared], return_counts=True
    )
    truth_run, run = np.divmod(pairs, max(len(cell), 1))
    union = truth_length[truth_run] + length[run] - intersection
    matched = cell[run[intersection >= MATCHING_IOU * union]]

    video_count, _, class_count = truth.shape

    def per_cell(indices: NDArray[np.int64]) -> NDArray[np.int64]:
        counts = np.bincount(indices, minlength=video_count * class_count)
        return counts.reshape(video_count, class_count)

    return Counts(per_cell(matched), per_cell(truth_cell) + per_cell(cell))


def _owned_segments(
    labels: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each run's cell (video x C + class) and length, and the run of each segment.

    Segments and runs are ordered by video, class and time; a segment without a run has -1.
    """
    found = find_runs(labels)
    lengths = found.offset - found.onset
    owner = np.full(labels.size, -1)
    owner[np.flatnonzero(labels.transpose(0, 2, 1))] = np.repeat(np.arange(len(lengths)), lengths)
    return found.video * labels.shape[2] + found.class_index, lengths, owner
