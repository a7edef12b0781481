"""How well pseudo-labels agree with annotated events."""

import logging
from typing import Any

from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import (
    Labels,
)
from pipeline.evaluation.evaluate import evaluate_arrays
from pipeline.labels.pseudo_labels import Videos

logger = logging.getLogger(__name__)


def _quality(
    split: str,
    videos: Videos,
    truth: Labels,
    unmasked: Labels,
    masked: Labels,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    rows = videos.rows[split]
    names = [videos.names[row] for row in rows]
    quality = {
        kind: evaluate_arrays(split, names, truth, labels[:, rows], vocabulary)
        for kind, labels in (("unmasked", unmasked), ("masked", masked))
    }
    for kind, evaluation in quality.items():
        segment = evaluation["metrics"]["segment"]
        logger.info(
            "%s, %d videos, %s labels: segment Type@AV %.1f, Event@AV %.1f",
            *(split, len(names), kind, segment["type"], segment["event"]),
        )
    return quality
