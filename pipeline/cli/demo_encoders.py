"""``demo-encoders``: train the demo's small CLIP and CLAP."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import seed_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="seed of the training (default 0)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for clip.json, clip.safetensors and clap/"
    )


def run(arguments: argparse.Namespace) -> None:
    """Train both encoders."""
    from pipeline.demo.encoders import make_encoders

    make_encoders(arguments.out, arguments.seed)
