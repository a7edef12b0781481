"""``demo``: render the synthetic corpus."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_workers
from pipeline.cli.shared.options import add_options, options_from
from pipeline.demo.options import DemoOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_options(parser, DemoOptions)
    add_workers(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for videos/, annotations/, corpus.json and dense.json",
    )


def run(arguments: argparse.Namespace) -> None:
    """Render the corpus."""
    from pipeline.demo.corpus import make_corpus

    options = options_from(arguments, DemoOptions)
    counts = options.model_dump(exclude={"seed"})
    make_corpus(arguments.out, options.seed, counts, arguments.workers)
