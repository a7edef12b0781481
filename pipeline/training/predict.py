"""Parse the splits of a dataset with a trained parser."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_json
from pipeline.core.shards import THRESHOLDS_FILE
from pipeline.core.vocabulary import Vocabulary
from pipeline.data.annotations import Labels
from pipeline.parsers.checkpoint import Checkpoint, read_checkpoint
from pipeline.parsers.interface import ParserInputs
from pipeline.parsers.prediction import parse_videos, write_predictions
from pipeline.parsers.registry import decided_recipe, decisions
from pipeline.training.dataset import parser_inputs, split_names
from pipeline.training.sources import FeatureSource


def predict(
    checkpoint_folder: Path,
    source: FeatureSource,
    annotations: Path,
    splits: Sequence[str],
    vocabulary: Vocabulary,
    out: Path,
    device: torch.device,
    options: Mapping[str, object] | None = None,
) -> None:
    """Parse splits with a trained parser; write the predictions, and the thresholds they rest on.

    Parameters
    ----------
    checkpoint_folder
        Folder of the trained parser.
    source, annotations, vocabulary
        The features and labels, the folder of the tables, and the classes.
    splits
        ``val``, ``test`` or both.
    out
        Output folder. If it is the parser's, later readers use these thresholds too.
    device
        Device to run the parser on.
    options
        Thresholds in place of the parser's, see ``registry.DECISIONS``.

    Raises
    ------
    PipelineError
        The checkpoint was trained on other classes or features, or something is missing.
    """
    checkpoint = read_checkpoint(checkpoint_folder)
    recipe = decided_recipe(checkpoint.method, checkpoint.recipe, options or {})
    checkpoint = replace(checkpoint, recipe=recipe)
    if checkpoint.classes != vocabulary.names:
        raise PipelineError(
            f"'{checkpoint_folder}' was trained on {len(checkpoint.classes)} classes that differ "
            f"from the {len(vocabulary)} classes of the vocabulary; pass the vocabulary it was "
            "trained with."
        )
    names_of = {split: split_names(annotations, split) for split in splits}
    all_names = [name for names in names_of.values() for name in names]
    cache = source.read(all_names, checkpoint.recipe, vocabulary, for_training=False)
    checkpoint.check_features(cache.fingerprints)
    checkpoint.check_dimensions(cache.dimensions(len(vocabulary)))
    videos = {split: parser_inputs(cache, split, names) for split, names in names_of.items()}
    write_split_predictions(checkpoint, videos, vocabulary, out, device)
    write_json(out / THRESHOLDS_FILE, decisions(recipe))


def write_split_predictions(
    checkpoint: Checkpoint,
    videos: Mapping[str, tuple[tuple[str, ...], ParserInputs]],
    vocabulary: Vocabulary,
    out: Path,
    device: torch.device,
) -> dict[str, Labels]:
    """Parse videos and write the event tables and probabilities of each split.

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

    Returns
    -------
    dict
        Split to predicted labels ``[2, N, T, C]``, audio before visual.
    """
    parser = checkpoint.build().to(device)
    predicted = {}
    for split, (names, inputs) in videos.items():
        probabilities = parse_videos(parser, inputs.to(device), checkpoint.recipe)
        labels = write_predictions(out, split, names, probabilities, checkpoint.recipe, vocabulary)
        predicted[split] = np.stack(labels)
    return predicted
