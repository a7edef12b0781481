"""``features-verify``: see that a feature folder is whole."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    parser.add_argument("folder", type=Path, help="a folder of K-of-N.safetensors")


def run(arguments: argparse.Namespace) -> None:
    """Verify."""
    from pipeline.features.verify import verify_features

    print(verify_features(arguments.folder).line())
