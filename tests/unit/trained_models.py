"""Model folders as the stages leave them, with predictions made by hand."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from simulated import make_vocabulary

from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, segments_to_events, write_events
from pipeline.evaluation.evaluate import evaluate_model
from pipeline.parsers.checkpoint import Checkpoint, write_checkpoint
from pipeline.parsers.decision import Probabilities
from pipeline.parsers.interface import Dimensions
from pipeline.parsers.prediction import write_predictions
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.results import write_curve

SEGMENTS, CLASSES, VIDEOS = 10, 2, 6
DIMENSIONS = Dimensions(6, 6, 0, 6, 6, SEGMENTS, CLASSES)
TINY = {"width": 8, "layers": 1, "heads": 2, "feedforward": 8}
VOCABULARY = make_vocabulary(CLASSES)
NAMES = tuple(f"{letter * 11}_0_10" for letter in "fdbace")[:VIDEOS]
SECONDS = 1.5
FINGERPRINTS = {"clap": "x", "clip": "y"}

Labels = NDArray[np.uint8]


def true_labels() -> Labels:
    """Class 0 heard and seen in all ten segments of every video, as [2, N, T, C]."""
    labels = np.zeros((2, VIDEOS, SEGMENTS, CLASSES), np.uint8)
    labels[..., 0] = 1
    return labels


def write_annotations(folder: Path) -> Path:
    """Write the tables; one test video more than any model is scored on."""
    folder.mkdir(parents=True)
    for table in SPLIT_TABLES.values():
        rows = ["filename\tevent_labels", *(f"{name}\tClass_0" for name in (*NAMES, "lost_0_10"))]
        (folder / table).write_text("\n".join(rows) + "\n")
    for table, labels in zip(EVENT_TABLES.values(), true_labels(), strict=True):
        write_events(folder / table, segments_to_events(labels, NAMES), VOCABULARY)
    return folder


def write_model(
    folder: Path,
    annotations: Path,
    predicted: Labels,
    method: str = "link",
    names: Sequence[str] = NAMES,
    made_by: Mapping[str, str] = FINGERPRINTS,
    **options: object,
) -> Path:
    """Write a model folder whose predictions are ``predicted`` [2, N, T, C].

    The number at the end of the folder's name is the seed, 0 where there is none.
    """
    recipe = recipe_for(method, {**TINY, **options})
    parser = build_network(method, DIMENSIONS, recipe)
    weights: dict[str, torch.Tensor] = dict(parser.state_dict())
    seed = int(re.search(r"\d*$", folder.name)[0] or 0)
    checkpoint = Checkpoint(
        method, recipe, seed, DIMENSIONS, VOCABULARY.names, 1, 50.0, made_by, weights
    )
    write_checkpoint(folder, checkpoint)
    row = {"epoch": 1, "lr": 1e-3, "loss": 1.0, "video": 1.0}
    row |= {"val_segment_type": 50.0, "val_event_type": 40.0, "seconds": SECONDS}
    write_curve(folder / "curve.csv", [row, row | {"epoch": 2}])
    audio, visual = predicted.astype(np.float32)
    probabilities = Probabilities(audio, visual, np.ones((len(names), 2, CLASSES), np.float32))
    for split in ("val", "test"):
        write_predictions(folder, split, tuple(names), probabilities, recipe, VOCABULARY)
    evaluate_model(folder, annotations, VOCABULARY)
    return folder
