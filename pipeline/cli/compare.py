"""``compare``: rank trained parsers and test their differences to a reference."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_published, add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--models",
        type=Path,
        nargs="+",
        required=True,
        help="folders of trained parsers, or of seeds",
    )
    add_annotations(parser)
    add(
        "--pseudo-labels",
        type=Path,
        metavar="DIR",
        help="folder of the run's pseudo-labels, to report which dense labels they rest on",
    )
    add("--reference", default="link", help="method to compare with (default: link)")
    add_vocabulary(parser)
    add_published(parser)
    add("--out", type=Path, required=True, help="folder of compare.html, .md and .csv")


def run(arguments: argparse.Namespace) -> None:
    """Write the comparison and print the leaderboard."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.parsers.model_folders import model_folders
    from pipeline.report.comparison.compare import compare
    from pipeline.report.published import read_published

    table = compare(
        model_folders(arguments.models),
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.reference,
        read_published(arguments.published),
        arguments.dataset,
        arguments.out,
        arguments.pseudo_labels,
    )
    print(table)
