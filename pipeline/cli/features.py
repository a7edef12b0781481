"""``features``: run a frozen encoder over one shard's segments."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_gpus
from pipeline.cli.encoder import add_encoder_arguments, encoder_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add_encoder_arguments(parser)
    add_gpus(parser)
    add = parser.add_argument
    add("--segments", type=Path, required=True, help="segments shard K-of-N.safetensors")
    add("--status-in", type=Path, required=True, help="its status table")
    add("--fingerprint", help="refuse to write features that have another fingerprint")
    add("--out", type=Path, required=True, help="features shard to write")
    add("--status", type=Path, required=True, help="status table to write")


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
