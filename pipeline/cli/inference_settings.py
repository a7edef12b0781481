"""``inference-settings``: save how a run makes features, for parsing other videos."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_vocabulary
from pipeline.cli.shared.settings import add_settings, settings_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_settings(parser)
    add_vocabulary(parser)
    add = parser.add_argument
    add(
        "--thresholds",
        type=Path,
        required=True,
        metavar="TSV",
        help="thresholds.tsv of the run's pseudo-labels",
    )
    add("--out", type=Path, required=True, metavar="JSON", help="file to write (parsing.json)")


def run(arguments: argparse.Namespace) -> None:
    """Write the settings."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.inference.settings import write_settings

    settings = settings_from(arguments)
    vocabulary = read_vocabulary(arguments.vocabulary)
    write_settings(arguments.out, settings, vocabulary, arguments.thresholds)
