"""Parse the splits of a dataset with a trained parser."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_json
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import SCORED_SPLITS, Labels
from pipeline.evaluation.evaluate import read_annotated
from pipeline.evaluation.tables import stacked_labels
from pipeline.parsers.checkpoint import Checkpoint, read_checkpoint
from pipeline.parsers.decision import Probabilities
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.prediction import parse_videos, write_predictions
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import THRESHOLDS_FILE, decided_recipe, decisions
from pipeline.training.calibration import (
    BEST_THRESHOLDS,
    DECISIONS_FILE,
    Thresholds,
    calibrated_thresholds,
    write_thresholds,
)
from pipeline.training.dataset import parser_inputs, split_names
from pipeline.training.sources import FeatureSource

# A probability, or BEST_THRESHOLDS.
Threshold = float | str
# The names of a split's videos, and their probabilities.
ParsedSplit = tuple[tuple[str, ...], Probabilities]


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
    _check_threshold(checkpoint_folder, out, options, threshold)
    checkpoint = _read_parser(checkpoint_folder, options, vocabulary)
    recipe = checkpoint.recipe
    searched = ["val"] if threshold == BEST_THRESHOLDS else []
    names_of = {split: split_names(annotations, split) for split in [*splits, *searched]}
    all_names = [name for names in names_of.values() for name in names]
    cache = source.read(all_names, recipe, vocabulary, for_training=False)
    checkpoint.check_features(cache.fingerprints)
    checkpoint.check_dimensions(cache.dimensions(len(vocabulary)))
    videos = {split: parser_inputs(cache, split, names) for split, names in names_of.items()}
    parsed = parse_splits(checkpoint, videos, device)
    thresholds = None
    if threshold == BEST_THRESHOLDS:
        names, probabilities = parsed["val"]
        annotated = read_annotated(annotations, names, cache.audio.shape[1], vocabulary)
        audio, visual = stacked_labels(annotated)
        thresholds = calibrated_thresholds(probabilities, (audio, visual), recipe)
    elif threshold is not None:
        thresholds = np.full((len(MODALITIES), len(vocabulary)), float(threshold))
    chosen = {split: parsed[split] for split in splits}
    write_split_predictions(chosen, recipe, vocabulary, out, thresholds)
    if not _has_other_splits(out, splits):
        # Of an earlier prediction into the same folder.
        (out / (DECISIONS_FILE if thresholds is None else THRESHOLDS_FILE)).unlink(missing_ok=True)
    if thresholds is not None:
        write_thresholds(out, vocabulary.names, thresholds)


def _has_other_splits(out: Path, splits: Sequence[str]) -> bool:
    others = set(SCORED_SPLITS) - set(splits)
    return any((out / f"probabilities_{split}.safetensors").is_file() for split in others)


def _check_threshold(
    checkpoint_folder: Path,
    out: Path,
    options: Mapping[str, object] | None,
    threshold: Threshold | None,
) -> None:
    """Check that a threshold neither replaces the parser's predictions nor excludes options."""
    if threshold is None:
        return
    if out.resolve() == checkpoint_folder.resolve():
        raise PipelineError(
            f"'{out}' has the parser's own predictions and scores; with --threshold, --out must be"
            " another folder."
        )
    if options:
        raise PipelineError(
            f"--threshold {threshold} replaces the thresholds of --option {', '.join(options)};"
            " give one of them."
        )


def _read_parser(
    folder: Path, options: Mapping[str, object] | None, vocabulary: Vocabulary
) -> Checkpoint:
    """Return the trained parser with its options' thresholds; it must have these classes."""
    checkpoint = read_checkpoint(folder)
    recipe = decided_recipe(checkpoint.method, checkpoint.recipe, options or {})
    if checkpoint.classes != vocabulary.names:
        raise PipelineError(
            f"'{folder}' was trained on {len(checkpoint.classes)} classes that differ from the"
            f" {len(vocabulary)} classes of the vocabulary; pass the vocabulary it was trained"
            " with."
        )
    return replace(checkpoint, recipe=recipe)


def parse_splits(
    checkpoint: Checkpoint,
    videos: Mapping[str, tuple[tuple[str, ...], ParserInputs]],
    device: torch.device,
) -> dict[str, ParsedSplit]:
    """Return the probabilities of each split's videos.

    Parameters
    ----------
    checkpoint
        The trained parser.
    videos
        Split to the names of its videos and their parser inputs.
    device
        Device to run the parser on.
    """
    parser = checkpoint.build().to(device)
    return {
        split: (names, parse_videos(parser, inputs.to(device), checkpoint.recipe))
        for split, (names, inputs) in videos.items()
    }


def write_split_predictions(
    parsed: Mapping[str, ParsedSplit],
    recipe: Recipe,
    vocabulary: Vocabulary,
    out: Path,
    thresholds: Thresholds | None = None,
) -> dict[str, Labels]:
    """Write the event tables and probabilities of each split, and the recipe's thresholds.

    Parameters
    ----------
    parsed
        Split to its videos' probabilities, see ``parse_splits``.
    recipe, vocabulary
        The parser's recipe and classes.
    out
        Output folder.
    thresholds : ``[2, C]``
        In place of the recipe's, see ``prediction.decide``.

    Returns
    -------
    dict
        Split to predicted labels ``[2, N, T, C]``, audio before visual.
    """
    predicted = {}
    for split, (names, probabilities) in parsed.items():
        labels = write_predictions(out, split, names, probabilities, recipe, vocabulary, thresholds)
        predicted[split] = np.stack(labels)
    if thresholds is None:
        write_json(out / THRESHOLDS_FILE, decisions(recipe))
    return predicted
