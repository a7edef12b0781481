"""Parse the splits of a dataset with a trained parser."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_json
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import Labels
from pipeline.parsers.checkpoint import Checkpoint, read_checkpoint
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.prediction import parse_videos, write_predictions
from pipeline.parsers.registry import THRESHOLDS_FILE, decided_recipe, decisions
from pipeline.training.calibration import (
    BEST_THRESHOLDS,
    DECISIONS_FILE,
    Thresholds,
    calibrated_thresholds,
    write_thresholds,
)
from pipeline.training.dataset import evaluation_videos, parser_inputs, split_names
from pipeline.training.sources import FeatureSource

# A probability, or BEST_THRESHOLDS.
Threshold = float | str


def predict(
    checkpoint_folder: Path,
    source: FeatureSource,
    annotations: Path,
    splits: Sequence[str],
    vocabulary: Vocabulary,
    out: Path,
    device: torch.device,
    options: Mapping[str, object] | None = None,
    threshold: Threshold | None = None,
) -> None:
    """Parse splits with a trained parser; write the predictions, and the thresholds they rest on.

    Parameters
    ----------
    checkpoint_folder
        Folder of the trained parser.
    source, annotations, vocabulary
        Features and labels, the folder of the tables, and the classes.
    splits
        ``val``, ``test`` or both.
    out
        Output folder. If it is the parser's, later readers use these thresholds too.
    device
        Device to run the parser on.
    options
        Thresholds in place of the parser's, see ``registry.DECISIONS``.
    threshold
        In place of all of these: one for all classes, or ``calibrated`` for those that are best on
        validation; they are written as ``thresholds.csv``.

    Raises
    ------
    PipelineError
        The checkpoint was trained on other classes or features, something is missing, or
        predictions with another threshold would replace the parser's own.
    """
    if threshold is not None and out.resolve() == checkpoint_folder.resolve():
        raise PipelineError(
            f"'{out}' has the parser's own predictions and scores; with --threshold, --out must be"
            " another folder."
        )
    if threshold is not None and options:
        raise PipelineError(
            f"--threshold {threshold} replaces the thresholds of --option {', '.join(options)};"
            " give one of them."
        )
    checkpoint = read_checkpoint(checkpoint_folder)
    recipe = decided_recipe(checkpoint.method, checkpoint.recipe, options or {})
    checkpoint = replace(checkpoint, recipe=recipe)
    if checkpoint.classes != vocabulary.names:
        raise PipelineError(
            f"'{checkpoint_folder}' was trained on {len(checkpoint.classes)} classes that differ "
            f"from the {len(vocabulary)} classes of the vocabulary; pass the vocabulary it was "
            "trained with."
        )
    searched = ["val"] if threshold == BEST_THRESHOLDS else []
    names_of = {split: split_names(annotations, split) for split in [*splits, *searched]}
    all_names = [name for names in names_of.values() for name in names]
    cache = source.read(all_names, checkpoint.recipe, vocabulary, for_training=False)
    checkpoint.check_features(cache.fingerprints)
    checkpoint.check_dimensions(cache.dimensions(len(vocabulary)))
    thresholds = None
    if threshold == BEST_THRESHOLDS:
        val = evaluation_videos(cache, annotations, "val", names_of["val"], vocabulary)
        network = checkpoint.build().to(device)
        probabilities = parse_videos(network, val.inputs.to(device), checkpoint.recipe)
        thresholds = calibrated_thresholds(probabilities, val.truth, checkpoint.recipe)
    elif threshold is not None:
        thresholds = np.full((len(MODALITIES), len(vocabulary)), float(threshold))
    videos = {split: parser_inputs(cache, split, names_of[split]) for split in splits}
    write_split_predictions(checkpoint, videos, vocabulary, out, device, thresholds)
    # Of an earlier prediction into the same folder.
    (out / (DECISIONS_FILE if thresholds is None else THRESHOLDS_FILE)).unlink(missing_ok=True)
    if thresholds is not None:
        write_thresholds(out, vocabulary.names, thresholds)


def write_split_predictions(
    checkpoint: Checkpoint,
    videos: Mapping[str, tuple[tuple[str, ...], ParserInputs]],
    vocabulary: Vocabulary,
    out: Path,
    device: torch.device,
    thresholds: Thresholds | None = None,
) -> dict[str, Labels]:
    """Parse videos; write the event tables and probabilities of each split, and the thresholds.

    Parameters
    ----------
    checkpoint
        The trained parser.
    videos
        Split to the names of its videos and their parser inputs.
    vocabulary
        The classes.
    out
        Output folder.
    device
        Device to run the parser on.
    thresholds : ``[2, C]``
        In place of the recipe's, see ``prediction.decide``.

    Returns
    -------
    dict
        Split to predicted labels ``[2, N, T, C]``, audio before visual.
    """
    parser = checkpoint.build().to(device)
    predicted = {}
    for split, (names, inputs) in videos.items():
        probabilities = parse_videos(parser, inputs.to(device), checkpoint.recipe)
        labels = write_predictions(
            out, split, names, probabilities, checkpoint.recipe, vocabulary, thresholds
        )
        predicted[split] = np.stack(labels)
    if thresholds is None:
        write_json(out / THRESHOLDS_FILE, decisions(checkpoint.recipe))
    return predicted
