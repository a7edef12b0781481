"""``fetch``: download one file and check its sha256."""

import argparse
from pathlib import Path

from pipeline.fetch import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add = parser.add_argument
    add("--url", required=True, help="https://, http:// or file:// address")
    add("--sha256", required=True, help="checksum that the file must have")
    add("--out", type=Path, required=True, help="where the file goes")


def run(arguments: argparse.Namespace) -> None:
    """Download the file."""
    fetch(arguments.url, arguments.out, arguments.sha256)
