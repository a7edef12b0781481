"""Agreement of pseudo-labels with annotated events."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import Labels
from pipeline.evaluation.evaluate import evaluate_arrays

logger = logging.getLogger(__name__)


def label_quality(
    split: str,
    names: Sequence[str],
    truth: Labels,
    labels: Mapping[str, Labels],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Score pseudo-labels against annotated events and log their segment-level F1.

    Parameters
    ----------
    split, names
        The split and its N videos.
    truth : ``[2, N, T, C]``
        Annotated segments, audio before visual.
    labels
        Kind (``unmasked``, ``masked``) to labels ``[2, N, T, C]``.
    vocabulary
        The C classes.

    Returns
    -------
    dict
        Kind to its evaluation, see ``evaluate_arrays``.
    """
    quality = {
        kind: evaluate_arrays(split, names, truth, of_kind, vocabulary)
        for kind, of_kind in labels.items()
    }
    for kind, evaluation in quality.items():
        segment = evaluation["metrics"]["segment"]
        logger.info(
            "%s, %d videos, %s labels: segment Type@AV %.1f, Event@AV %.1f",
            *(split, len(names), kind, segment["type"], segment["event"]),
        )
    return quality
