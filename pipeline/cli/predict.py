"""``predict``: parse a split with a trained parser."""

import argparse
from pathlib import Path

from pipeline.cli.sources import add_source_arguments, limit_threads, source_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="folder a training left"
    )
    parser.add_argument("--split", nargs="+", required=True, help="val, test or both")
    add_source_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Predict."""
    from pipeline.encoders.base import choose_device
    from pipeline.prediction import predict
    from pipeline.vocabulary import read_vocabulary

    limit_threads(arguments)
    predict(
        arguments.checkpoint,
        source_of(arguments),
        arguments.annotations,
        arguments.split,
        read_vocabulary(arguments.vocabulary),
        arguments.out,
        choose_device(arguments.device),
    )
