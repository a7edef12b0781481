"""``evaluate-model``: score what a trained parser predicted for validation and test."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_corrections, add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of a trained parser, or of several seeds",
    )
    add_annotations(parser)
    add_corrections(parser)
    add_vocabulary(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score the model's event tables, write metrics.json beside them and print the scores."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.data.annotations import SPLIT_TABLES, read_names
    from pipeline.data.corrections import read_corrections
    from pipeline.evaluation.evaluate import evaluate_model, summary
    from pipeline.parsers.model_folders import model_folders

    vocabulary, folder = read_vocabulary(arguments.vocabulary), arguments.corrections
    corrections = None if folder is None else read_corrections(folder, vocabulary)
    for model in model_folders([arguments.model]):
        evaluations = evaluate_model(model, arguments.annotations, vocabulary, corrections)
        for split, evaluation in evaluations.items():
            videos = len(read_names(arguments.annotations / SPLIT_TABLES[split]))
            print(f"{model}:", summary(evaluation, videos))
