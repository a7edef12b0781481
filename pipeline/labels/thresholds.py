"""Thresholds on similarity logits: from the vocabulary, or calibrated on validation videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_tsv
from pipeline.core.options import Options, PathText
from pipeline.core.vocabulary import MODALITIES, Vocabulary

ThresholdKind = Literal["fixed", "calibrated"]


class LabelOptions(Options):
    """How similarities become segment labels."""

    thresholds: ThresholdKind = Field(
        "calibrated",
        description="fixed: the vocabulary's; calibrated: per class, on validation videos",
    )
    teacher: PathText | None = Field(
        None,
        description="folder of a trained teacher: masked and soft labels come from its network,"
        " with thresholds chosen on the validation videos' events; they replace released masked"
        " labels",
    )


@dataclass(frozen=True)
class LabelThresholds:
    """Thresholds of logits for pseudo-labels, by modality (0 audio, 1 visual) and class.

    Attributes
    ----------
    unmasked, masked : ``[2, C]``
        Thresholds of unmasked and of masked labels.
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]


def best_threshold(logits: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the threshold with the highest F1 of ``logits > threshold``.

    Equal logits always get the same label. If several thresholds reach the best F1, the highest is
    returned, midway between the two logits that it separates.

    Parameters
    ----------
    logits, truth : ``[M]``
        Logits of segments, and whether each is positive (not 0); at least one must be.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = logits[order].astype(np.float64)
    hits = np.cumsum(truth[order] != 0)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    below = np.append(ranked[1:], ranked[-1] - 1)
    last = int(np.argmax(np.where(ranked > below, f1, -1)))
    return float(ranked[last] + below[last]) / 2


def fixed_thresholds(vocabulary: Vocabulary) -> LabelThresholds:
    """Return the vocabulary's thresholds for both unmasked and masked labels, as in VALOR."""
    fixed = np.array([vocabulary.thresholds(modality) for modality in MODALITIES], np.float64)
    return LabelThresholds(unmasked=fixed, masked=fixed)


def calibrated_thresholds(
    logits: NDArray[Any], truth: NDArray[Any], weak: NDArray[Any], vocabulary: Vocabulary
) -> LabelThresholds:
    """Choose each class's thresholds by segment-level F1 on validation videos.

    Unmasked labels are calibrated on all videos, masked labels only on videos whose weak label has
    the class. A class is frequent in the latter but rare overall, so the two thresholds differ
    widely: with a single one, masked labels would miss most events. Masked labels are therefore
    not always a subset of unmasked ones.

    For a class without positive segments, the unmasked threshold is its highest logit, which gives
    no labels on these videos, and the masked threshold is the vocabulary's.

    Parameters
    ----------
    logits, truth : ``[2, N, T, C]``
        Logits and annotated segments of validation videos; audio, then visual.
    weak : ``[N, C]``
        Weak labels of the same videos.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        There are no validation videos.
    """
    if not len(weak):
        raise PipelineError(
            "calibrated thresholds need validation videos with features; use fixed thresholds."
        )
    fixed = fixed_thresholds(vocabulary).masked
    unmasked, masked = np.empty_like(fixed), np.empty_like(fixed)
    for modality, index in np.ndindex(fixed.shape):
        of_class = logits[modality, :, :, index]
        positive = truth[modality, :, :, index]
        labelled = weak[:, index] != 0
        unmasked[modality, index] = (
            best_threshold(of_class.ravel(), positive.ravel()) if positive.any() else of_class.max()
        )
        masked[modality, index] = (
            best_threshold(of_class[labelled].ravel(), positive[labelled].ravel())
            if positive[labelled].any()
            else fixed[modality, index]
        )
    return LabelThresholds(unmasked, masked)


def f1_thresholds(
    logits: NDArray[Any], truth: NDArray[Any], weak: NDArray[Any]
) -> NDArray[np.float64]:
    """Return UWAV's thresholds of masked labels ``[2, C]``, chosen by F1 on validation videos.

    The cuts of a class are those between the logits of the videos whose weak label has it. F1
    counts all segments together and all annotated ones, also those of other videos. Of equally good
    cuts the lowest wins. If it is below all of these logits, the threshold is -inf: every segment
    of such a video gets the label. Otherwise it is midway between two neighbouring logits.
    Source: UWAV (Lai et al., CVPR 2025), released code.
    differs: that code also tries cuts among the segments of other videos, which all have the logit
    -inf there, so that no threshold makes such a cut. If events are annotated outside the weak
    label, such a cut can score best, and the threshold is -inf. Rounding in that code's F1 also
    decides between equally good cuts.

    Parameters
    ----------
    logits, truth : ``[2, N, T, C]``
        Logits and annotated segments of validation videos; audio, then visual.
    weak : ``[N, C]``
        Weak labels of the same videos.
    """
    thresholds = np.full((len(logits), logits.shape[3]), -np.inf)
    for modality, index in np.ndindex(thresholds.shape):
        labelled = weak[:, index] != 0
        positive = truth[modality, :, :, index] != 0
        thresholds[modality, index] = _lowest_best_cut(
            logits[modality, labelled, :, index].ravel(),
            positive[labelled].ravel(),
            int(positive.sum()),
        )
    return thresholds


def _lowest_best_cut(
    logits: NDArray[Any], positive: NDArray[np.bool_], total_positives: int
) -> float:
    """Return the lowest of the thresholds of ``logits > threshold`` with the highest F1.

    ``logits`` and ``positive`` are ``[M]``; ``total_positives`` counts those elsewhere too.
    """
    if not positive.any():
        return -np.inf
    order = np.argsort(logits, kind="stable")
    ranked = logits[order].astype(np.float64)
    # Of a cut below each logit: how many segments are above it, and how many of them are right.
    above = np.arange(len(ranked), 0, -1)
    hits = np.cumsum(positive[order][::-1])[::-1]
    f1 = 2 * hits / (above + total_positives)
    below = np.append(-np.inf, ranked[:-1])
    best = int(np.argmax(np.where(ranked > below, f1, -1)))
    return float(below[best] + ranked[best]) / 2


def finite_thresholds(thresholds: NDArray[np.float64], logits: NDArray[Any]) -> NDArray[np.float64]:
    """Replace every -inf by the smallest logit of its class, minus 1.

    UWAV's code (Lai et al., CVPR 2025) does so before it computes soft labels.

    Parameters
    ----------
    thresholds : ``[C]``
        Thresholds of masked labels.
    logits : ``[..., C]``
        Logits of segments, whatever the weak labels of their videos.
    """
    if not np.isneginf(thresholds).any():
        return thresholds
    smallest = logits.reshape(-1, logits.shape[-1]).min(axis=0).astype(np.float64)
    return np.where(np.isneginf(thresholds), smallest - 1, thresholds)


def write_thresholds(path: Path, thresholds: LabelThresholds, vocabulary: Vocabulary) -> None:
    """Write one row per class: ``class``, ``audio``, ``visual``, and both for masked labels."""
    columns = np.concatenate([thresholds.unmasked, thresholds.masked]).T.tolist()
    names = [*MODALITIES, *(f"{modality}_masked" for modality in MODALITIES)]
    rows = ([name, *row] for name, row in zip(vocabulary.names, columns, strict=True))
    write_tsv(path, ["class", *names], rows)
