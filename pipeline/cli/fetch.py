"""``fetch``: download one file and check its sha256."""

import argparse
import re
from pathlib import Path

from pipeline.data.fetch import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add = parser.add_argument
    add("--url", required=True, help="https://, http:// or file:// address")
    add("--sha256", type=_sha256, required=True, help="checksum that the file must have")
    add("--out", type=Path, required=True, help="where the file goes")


def run(arguments: argparse.Namespace) -> None:
    """Download the file."""
    fetch(arguments.url, arguments.out, arguments.sha256)


def _sha256(text: str) -> str:
    """Return a checksum in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not the 64 hex digits that `sha256sum FILE` prints"
        )
    return text.lower()
