"""Thresholds of a trained parser's predictions by modality and class, chosen on validation."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import write_text
from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import Labels
from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.recipes import Recipe

# In place of a threshold: by class and modality, the best on validation.
BEST_THRESHOLDS = "calibrated"
DECISIONS_FILE = "thresholds.csv"
TRIED_THRESHOLDS = np.arange(5, 96) / 100

Thresholds = NDArray[np.float64]


def calibrated_thresholds(
    probabilities: Probabilities, truth: tuple[Labels, Labels], recipe: Recipe
) -> Thresholds:
    """Return the thresholds ``[2, C]`` with the best segment-level F1 of each modality and class.

    Of equally good ones that nearest to the recipe's is taken, and the recipe's itself for a class
    that no video is annotated with.

    Parameters
    ----------
    probabilities, truth
        Predictions for the validation videos, and their annotated labels ``[N, T, C]``.
    recipe
        The thresholds in use so far.
    """
    annotated = np.stack(truth) != 0
    shape = (len(MODALITIES), annotated.shape[-1])
    scores = []
    for candidate in TRIED_THRESHOLDS:
        predicted = np.stack(decide(probabilities, recipe, np.full(shape, candidate))) != 0
        hits = (predicted & annotated).sum(axis=(1, 2))
        positives = predicted.sum(axis=(1, 2)) + annotated.sum(axis=(1, 2))
        scores.append(2 * hits / np.maximum(positives, 1))
    f1 = np.stack(scores)
    distance = np.abs(TRIED_THRESHOLDS - recipe.segment_threshold)[:, None, None]
    best = np.where(f1 == f1.max(axis=0), distance, np.inf).argmin(axis=0)
    chosen: Thresholds = np.where(
        annotated.any(axis=(1, 2)), TRIED_THRESHOLDS[best], recipe.segment_threshold
    )
    return chosen


def write_thresholds(folder: Path, class_names: tuple[str, ...], thresholds: Thresholds) -> None:
    """Write thresholds ``[2, C]`` beside the predictions that they decide."""
    header = ",".join(["class", *MODALITIES])
    lines = [
        ",".join([name, *(f"{value:g}" for value in values)])
        for name, values in zip(class_names, thresholds.T.tolist(), strict=True)
    ]
    write_text(folder / DECISIONS_FILE, "\n".join([header, *lines]) + "\n")
