"""``parse-setup``: note how a run's features were made, for parsing other videos."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from pipeline.cli.arguments import add_vocabulary
from pipeline.errors import PipelineError


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
    from pipeline.config import read_config
    from pipeline.parse.setup import Setup, setup_of, write_setup
    from pipeline.vocabulary import read_vocabulary

    if arguments.config:
        setup = setup_of(read_config(arguments.config), ())
    else:
        try:
            setup = Setup.model_validate_json(arguments.settings)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "its form"
            raise PipelineError(
                f"--settings is not what the workflow says of a run ({place}: {first['msg']});"
                " name the run's configuration with --config in its place."
            ) from None
    vocabulary = read_vocabulary(arguments.vocabulary)
    write_setup(arguments.out, setup, vocabulary, arguments.thresholds)
