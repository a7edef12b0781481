"""``features-compare``: compare two feature folders segment by segment."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    help_text = (
        "folder of K-of-N.safetensors, or of one .npy per video (such as VALOR's CLIP/features)"
    )
    parser.add_argument("first", type=Path, help=help_text)
    parser.add_argument("second", type=Path, help=help_text)
    parser.add_argument(
        "--array",
        choices=("embedding", "map"),
        default="embedding",
        help="array to compare; map is CLAP's pooled feature map (default: embedding)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Compare the folders and print the result."""
    from pipeline.features.compare import compare_features

    print(compare_features(arguments.first, arguments.second, arguments.array).text())
