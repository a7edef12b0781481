"""``fetch``: download a file and check it."""

import argparse
import re
from pathlib import Path

from pipeline.core.errors import PipelineError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="an https, http or file address, or hf:[datasets/]OWNER/NAME/FILE[@REVISION]",
    )
    add("--sha256", type=_sha256, help="checksum that the file must have; needed for an address")
    add("--out", type=Path, required=True, metavar="FILE", help="file to write")
    add("--update", action="store_true", help="accept a file that changed on the Hub")


def run(arguments: argparse.Namespace) -> None:
    """Download the file."""
    from pipeline.core.references import is_hub_reference, parse_hub_reference
    from pipeline.data.fetch import fetch
    from pipeline.data.hub import fetch_hub_file

    if is_hub_reference(arguments.source):
        reference = parse_hub_reference(arguments.source)
        record = fetch_hub_file(reference, arguments.out, arguments.update)
        origin = f"commit {record.commit}" if record.verified else "not verified with the Hub"
        print(f"{arguments.out}: SHA-256 {record.sha256}, {origin}")
        return
    if arguments.sha256 is None:
        raise PipelineError(f"'{arguments.source}' needs --sha256, the checksum it must have.")
    fetch(arguments.source, arguments.out, arguments.sha256)


def _sha256(text: str) -> str:
    """Return a checksum in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not the 64 hex digits that `sha256sum FILE` prints"
        )
    return text.lower()
