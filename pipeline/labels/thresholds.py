"""Thresholds on similarity logits: fixed in the vocabulary, or calibrated on validation videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_tsv
from pipeline.core.options import Options
from pipeline.core.vocabulary import MODALITIES, Vocabulary

ThresholdKind = Literal["fixed", "calibrated"]


class LabelOptions(Options):
    """How similarities become segment labels."""

    thresholds: ThresholdKind = Field(
        "calibrated",
        description="fixed: the vocabulary's; calibrated: per class, on validation videos",
    )


@dataclass(frozen=True)
class LabelThresholds:
    """Logits above which a segment gets a label, per modality (0 audio, 1 visual) and class.

    Attributes
    ----------
    unmasked, masked : ``[2, C]``
        For unmasked and for masked labels.
    """

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]


def best_threshold(logits: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the threshold with the highest F1 of ``logits > threshold``.

    Equal logits always fall on the same side. Of thresholds with the same F1 the highest is
    taken, and it lies midway between the two logits that it separates.

    Parameters
    ----------
    logits, truth : ``[M]``
        Logits of some segments, and whether each is positive (not 0); at least one is.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = logits[order].astype(np.float64)
    hits = np.cumsum(truth[order] != 0)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    below = np.append(ranked[1:], ranked[-1] - 1)
    last = int(np.argmax(np.where(ranked > below, f1, -1)))
    return float(ranked[last] + below[last]) / 2


def fixed_thresholds(vocabulary: Vocabulary) -> LabelThresholds:
    """Return the vocabulary's thresholds, for unmasked and masked labels alike (as VALOR)."""
    fixed = np.array([vocabulary.thresholds(modality) for modality in MODALITIES], np.float64)
    return LabelThresholds(unmasked=fixed, masked=fixed)


def calibrated_thresholds(
    logits: NDArray[Any], truth: NDArray[Any], weak: NDArray[Any], vocabulary: Vocabulary
) -> LabelThresholds:
    """Choose each class's thresholds by segment-level F1 on validation videos.

    Unmasked labels are calibrated on all videos, masked labels on those whose weak label has the
    class. A class is frequent in the latter and rare among all, so the two thresholds are far
    apart: with one for both, masked labels would miss most events. Masked labels are therefore
    not always a subset of unmasked ones.

    A class without positive segments gets the highest logit of all as unmasked threshold, which
    keeps it silent there, and the vocabulary's as masked threshold.

    Parameters
    ----------
    logits, truth : ``[2, N, T, C]``
        Of validation videos; audio, then visual.
    weak : ``[N, C]``
        Their weak labels.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        There is no validation video.
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


def write_thresholds(path: Path, thresholds: LabelThresholds, vocabulary: Vocabulary) -> None:
    """Write a row a class: ``class``, then ``audio``, ``visual`` and the same of masked labels."""
    columns = np.concatenate([thresholds.unmasked, thresholds.masked]).T.tolist()
    names = [*MODALITIES, *(f"{modality}_masked" for modality in MODALITIES)]
    rows = ([name, *row] for name, row in zip(vocabulary.names, columns, strict=True))
    write_tsv(path, ["class", *names], rows)
