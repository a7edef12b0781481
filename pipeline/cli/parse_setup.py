"""``parse-setup``: note how a run's features were made, for parsing other videos."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--config", type=Path, metavar="YAML", help="the run's configuration")
    made.add_argument("--settings", metavar="JSON", help="what the workflow says of it")
    add_vocabulary(parser)
    add = parser.add_argument
    add("--thresholds", type=Path, required=True, help="thresholds.tsv of its pseudo-labels")
    add("--out", type=Path, required=True, help="file to write (parsing.json)")


def run(arguments: argparse.Namespace) -> None:
    """Write the setup."""
    from pipeline.config.models import read_config
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.inference.settings import settings_from_config, settings_from_json, write_settings

    if arguments.config:
        setup = settings_from_config(read_config(arguments.config), ())
    else:
        setup = settings_from_json(
            arguments.settings,
            "--settings is not what the workflow says of a run",
            "name the run's configuration with --config in its place",
        )
    vocabulary = read_vocabulary(arguments.vocabulary)
    write_settings(arguments.out, setup, vocabulary, arguments.thresholds)
