"""``prompts``: embed the class captions with an encoder's text tower."""

import argparse
from pathlib import Path

from pipeline.cli.encoder import add_encoder_arguments, encoder_from
from pipeline.vocabulary import DEFAULT_PATH, read_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add_encoder_arguments(parser)
    add = parser.add_argument
    add("--vocabulary", type=Path, default=DEFAULT_PATH, help="classes and captions (YAML)")
    add("--fingerprint", required=True, help="fingerprint of the features they belong to")
    add("--out", type=Path, required=True, help="prompts file to write")


def run(arguments: argparse.Namespace) -> None:
    """Embed the captions."""
    from pipeline.prompts import write_prompts

    vocabulary = read_vocabulary(arguments.vocabulary)
    write_prompts(encoder_from(arguments), vocabulary, arguments.out, arguments.fingerprint)
