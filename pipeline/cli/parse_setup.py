"""``parse-setup``: note how a run's features were made, for parsing other videos."""

import argparse
import json
from pathlib import Path

from pipeline.cli.arguments import add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    config = parser.add_mutually_exclusive_group(required=True)
    config.add_argument("--config", type=Path, metavar="YAML", help="the run's configuration")
    config.add_argument("--config-json", metavar="TEXT", help="the same, as the workflow has it")
    add_vocabulary(parser)
    add = parser.add_argument
    add("--thresholds", type=Path, required=True, help="thresholds.tsv of its pseudo-labels")
    add("--out", type=Path, required=True, help="file to write (parsing.json)")


def run(arguments: argparse.Namespace) -> None:
    """Write the setup."""
    from pipeline.config import parse_config, read_config
    from pipeline.parse.setup import write_setup
    from pipeline.vocabulary import read_vocabulary

    config = (
        read_config(arguments.config)
        if arguments.config
        else parse_config(json.loads(arguments.config_json))
    )
    vocabulary = read_vocabulary(arguments.vocabulary)
    write_setup(arguments.out, config, vocabulary, arguments.thresholds)
