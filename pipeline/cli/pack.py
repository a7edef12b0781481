"""``pack``: write a trained parser as one folder that can be moved or published."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="DIR", help="folder of a trained parser")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add(
        "--settings",
        type=Path,
        metavar="JSON",
        help="parsing.json of its run (default: looked up beside and above DIR)",
    )
    add(
        "--with-encoders",
        action="store_true",
        help="copy the encoders' weights too; otherwise the model card says which files are needed",
    )
    add("--dataset", metavar="NAME", help="what the metrics were measured on, for the model card")


def run(arguments: argparse.Namespace) -> None:
    """Write the folder; print what it contains, and what it needs."""
    from pipeline.inference.packed import CARD_FILE, pack_parser

    needed = pack_parser(
        arguments.checkpoint,
        arguments.out,
        settings_path=arguments.settings,
        with_encoders=arguments.with_encoders,
        dataset=arguments.dataset,
    )
    print(arguments.out / CARD_FILE)
    if not needed:
        print("its encoders are part of the package; no weights to copy")
    for file in needed:
        if not file.copied:
            print(f"not included: {file.path} (sha256 {file.sha256})")
