"""Write what training leaves: the curve, and the predictions and metrics of its checkpoint."""

import csv
import io
from pathlib import Path

import numpy as np
import torch

from pipeline.core.files import write_text
from pipeline.evaluation.evaluate import SplitPredictions, write_metrics
from pipeline.parsers.checkpoint import Checkpoint
from pipeline.training.dataset import TrainingData
from pipeline.training.predict import parse_splits, write_split_predictions

CurveRow = dict[str, float]


def write_curve(path: Path, curve: list[CurveRow]) -> None:
    """Write the training curve as CSV: epoch, lr, loss, its terms, validation scores, seconds.

    Phases with other terms leave cells empty.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in curve for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    write_text(path, text.getvalue())


def write_results(
    out: Path, checkpoint: Checkpoint, data: TrainingData, device: torch.device
) -> None:
    """Parse and score val and test; write metrics.json, predicted events and probabilities."""
    videos = {split: (each.names, each.inputs) for split, each in data.evaluated.items()}
    parsed = parse_splits(checkpoint, videos, device)
    predicted = write_split_predictions(parsed, checkpoint.recipe, data.vocabulary, out)
    predictions = {
        split: SplitPredictions(each.names, np.stack(each.truth), predicted[split], each.annotated)
        for split, each in data.evaluated.items()
    }
    write_metrics(out, predictions, data.vocabulary)
