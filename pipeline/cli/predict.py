"""``predict``: parse splits with a trained parser, of one or several seeds."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_recipe_options, limit_threads, recipe_options, seed_number
from pipeline.cli.sources import add_source_arguments, source_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="folder of a trained parser"
    )
    parser.add_argument(
        "--seeds",
        type=seed_number,
        nargs="+",
        metavar="SEED",
        help="parse with each CHECKPOINT/seed{SEED}, into OUT/seed{SEED}",
    )
    add_recipe_options(parser, "change a threshold of the method's recipe; repeatable")
    parser.add_argument("--split", nargs="+", required=True, help="val, test or both")
    add_source_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Predict with every seed."""
    from pipeline.core.devices import choose_device
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.training.predict import predict

    limit_threads(arguments)
    options = recipe_options(arguments)
    for folder in [f"seed{seed}" for seed in arguments.seeds or ()] or ["."]:
        predict(
            arguments.checkpoint / folder,
            source_of(arguments),
            arguments.annotations,
            arguments.split,
            read_vocabulary(arguments.vocabulary),
            arguments.out / folder,
            choose_device(arguments.device),
            options,
        )
