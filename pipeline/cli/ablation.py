"""``ablation``: tabulate the trained variants of a method."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--models",
        type=Path,
        nargs="+",
        required=True,
        help="trained variants: their folders, or folders of them",
    )
    add_annotations(parser)
    add_dataset(parser)
    add("--out", type=Path, required=True, help="folder of ablation.md and ablation.csv")


def run(arguments: argparse.Namespace) -> None:
    """Write the ablation and print its table."""
    from pipeline.parsers.model_folders import model_folders
    from pipeline.report.ablation import write_ablation

    where = (arguments.annotations, arguments.out, arguments.dataset)
    print(write_ablation(model_folders(arguments.models), *where))
