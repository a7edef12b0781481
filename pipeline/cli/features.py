"""``features``: encode one shard's segments with a frozen encoder."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_gpus
from pipeline.cli.shared.encoder import add_encoder_arguments, encoder_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_encoder_arguments(parser)
    add_gpus(parser)
    add = parser.add_argument
    add("--segments", type=Path, required=True, metavar="FILE", help="segments shard to encode")
    add("--status-in", type=Path, required=True, metavar="TSV", help="its status table")
    add("--fingerprint", help="fingerprint that the features must have")
    add("--out", type=Path, required=True, metavar="FILE", help="features shard to write")
    add("--status", type=Path, required=True, metavar="TSV", help="status table to write")


def run(arguments: argparse.Namespace) -> None:
    """Encode the shard."""
    from pipeline.features.extract import encode_shard

    encode_shard(
        encoder_from(arguments),
        arguments.segments,
        arguments.status_in,
        arguments.out,
        arguments.status,
        arguments.fingerprint,
    )
