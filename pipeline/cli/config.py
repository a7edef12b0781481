"""``config``: print the effective configuration, or write its schema."""

import argparse
import sys
from pathlib import Path

import yaml

from pipeline.config.models import SCHEMA_PATH, Config, read_config
from pipeline.core.files import REPOSITORY, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    parser.add_argument(
        "--file", type=Path, default=REPOSITORY / "config.yaml", help="what to read"
    )
    parser.add_argument(
        "--write-schema", action="store_true", help=f"write {SCHEMA_PATH.relative_to(REPOSITORY)}"
    )


def run(arguments: argparse.Namespace) -> None:
    """Check a configuration file and print it with its defaults, or write the schema."""
    if arguments.write_schema:
        write_json(SCHEMA_PATH, Config.model_json_schema())
        return
    config = read_config(arguments.file)
    yaml.safe_dump(config.model_dump(), sys.stdout, sort_keys=False, allow_unicode=True)
