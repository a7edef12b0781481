"""``inference-settings``: save how a run makes features, for parsing other videos."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="YAML", help="the run's configuration")
    source.add_argument("--settings", metavar="JSON", help="settings, as the workflow gives them")
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
    from pipeline.config.load import load_config
    from pipeline.config.settings import inference_settings
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.inference.settings import settings_from_json, write_settings

    if arguments.config:
        settings = inference_settings(load_config([arguments.config]))
    else:
        settings = settings_from_json(
            arguments.settings,
            "--settings is not valid",
            "give the run's configuration with --config instead",
        )
    vocabulary = read_vocabulary(arguments.vocabulary)
    write_settings(arguments.out, settings, vocabulary, arguments.thresholds)
