"""Parse the splits of a dataset with a trained parser."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import Vocabulary
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.parsers.prediction import parse_videos, write_predictions
from pipeline.training.dataset import parser_inputs, split_names
from pipeline.training.sources import Source


def predict(
    checkpoint_folder: Path,
    source: Source,
    annotations: Path,
    splits: Sequence[str],
    vocabulary: Vocabulary,
    out: Path,
    device: torch.device,
) -> None:
    """Parse some splits with a trained parser and write what it finds.

    Raises
    ------
    PipelineError
        The checkpoint is of other classes or other features, or something is missing.
    """
    checkpoint = read_checkpoint(checkpoint_folder)
    if checkpoint.classes != vocabulary.names:
        raise PipelineError(
            f"'{checkpoint_folder}' was trained on {len(checkpoint.classes)} classes that are not "
            f"the vocabulary's {len(vocabulary)}; give the vocabulary it was trained with."
        )
    names = {split: split_names(annotations, split) for split in splits}
    everyone = [name for listed in names.values() for name in listed]
    cache = source.read(everyone, checkpoint.recipe, vocabulary, for_training=False)
    checkpoint.check_features(cache.fingerprints)
    checkpoint.check_dimensions(cache.dimensions(len(vocabulary)))
    parser = checkpoint.build().to(device)
    for split, listed in names.items():
        kept, inputs = parser_inputs(cache, split, listed)
        probabilities = parse_videos(parser, inputs.to(device), checkpoint.recipe)
        write_predictions(out, split, kept, probabilities, checkpoint.recipe, vocabulary)
