"""``prompts``: embed the class captions with an encoder's text tower."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_vocabulary
from pipeline.cli.shared.encoder import add_encoder_arguments, encoder_from
from pipeline.core.vocabulary import read_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_encoder_arguments(parser)
    add_vocabulary(parser)
    add = parser.add_argument
    add(
        "--fingerprint",
        required=True,
        help="fingerprint of the features that the prompts belong to",
    )
    add("--out", type=Path, required=True, metavar="FILE", help="file to write")


def run(arguments: argparse.Namespace) -> None:
    """Embed the captions."""
    from pipeline.features.encoders.base import with_captions
    from pipeline.features.prompts import write_prompts

    vocabulary = read_vocabulary(arguments.vocabulary)
    encoder = with_captions(encoder_from(arguments))
    write_prompts(encoder, vocabulary, arguments.out, arguments.fingerprint)
