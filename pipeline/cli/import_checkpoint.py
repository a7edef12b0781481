"""``import-checkpoint``: import the weights that a method's authors released."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_vocabulary
from pipeline.parsers.released import RELEASED, RELEASED_REPOSITORY, import_released


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("method", metavar="METHOD", help=", ".join(RELEASED))
    add(
        "file",
        metavar="FILE",
        help=f"the released file, its address {RELEASED_REPOSITORY}/PATH, or {RELEASED_REPOSITORY}"
        " to find it there by name",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="model folder to write")
    add("--update", action="store_true", help="accept a file that changed on the Hub")
    add_vocabulary(parser)


def run(arguments: argparse.Namespace) -> None:
    """Import the weights and print what they are."""
    from pipeline.core.vocabulary import read_vocabulary

    checkpoint = import_released(
        arguments.method,
        arguments.file,
        read_vocabulary(arguments.vocabulary),
        arguments.out,
        arguments.update,
    )
    model = RELEASED[arguments.method]
    parameters = sum(weight.numel() for weight in checkpoint.weights.values())
    motion = "with" if checkpoint.recipe.motion else "without"
    print(
        f"{arguments.out}: {model.title}, {parameters:,} parameters, {motion} R(2+1)D,"
        f" SHA-256 {checkpoint.released['sha256']}"
    )
