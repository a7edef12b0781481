"""``features-verify``: check a feature folder."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, help="folder of K-of-N.safetensors")


def run(arguments: argparse.Namespace) -> None:
    """Check the folder and print what it contains."""
    from pipeline.features.verify import verify_features

    print(verify_features(arguments.folder).line())
