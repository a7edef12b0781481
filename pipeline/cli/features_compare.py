"""``features-compare``: see whether two folders hold the same features."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    help_text = "a folder of K-of-N.safetensors, or of one .npy a video (VALOR's CLIP/features)"
    parser.add_argument("first", type=Path, help=help_text)
    parser.add_argument("second", type=Path, help=help_text)
    parser.add_argument(
        "--array", choices=("embedding", "map"), default="embedding", help="map: CLAP's pooled map"
    )


def run(arguments: argparse.Namespace) -> None:
    """Compare."""
    from pipeline.features.compare import compare_features

    print(compare_features(arguments.first, arguments.second, arguments.array).text())
