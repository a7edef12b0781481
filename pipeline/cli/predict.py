"""``predict``: parse splits with a trained parser, of one or several seeds."""

import argparse
from contextlib import suppress
from pathlib import Path

from pipeline.cli.shared.arguments import (
    add_recipe_options,
    limit_threads,
    recipe_options,
    seed_number,
)
from pipeline.cli.shared.sources import add_source_arguments, source_of
from pipeline.training.calibration import BEST_THRESHOLDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of a trained parser, or of several seeds",
    )
    parser.add_argument(
        "--seeds",
        type=seed_number,
        nargs="+",
        metavar="SEED",
        help="parse with each CHECKPOINT/seed{SEED}, into OUT/seed{SEED} (default: all there)",
    )
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="X",
        help="probability at or above which a segment counts, or `calibrated`: for each class and"
        " modality the one with the best F1 on validation (default: the method's)",
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
    for folder, out in _folders(arguments):
        predict(
            folder,
            source_of(arguments),
            arguments.annotations,
            arguments.split,
            read_vocabulary(arguments.vocabulary),
            out,
            choose_device(arguments.device),
            options,
            arguments.threshold,
        )


def _folders(arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Return the folder of each parser, and where its predictions go."""
    from pipeline.parsers.model_folders import model_folders

    checkpoint, out = arguments.checkpoint, arguments.out
    if arguments.seeds:
        names = [f"seed{seed}" for seed in arguments.seeds]
        return [(checkpoint / name, out / name) for name in names]
    found = model_folders([checkpoint])
    if found[0] in {checkpoint, checkpoint.parent}:
        return [(found[0], out)]
    return [(folder, out / folder.relative_to(checkpoint)) for folder in found]


def _threshold(text: str) -> float | str:
    """Read a probability or ``calibrated``."""
    if text == BEST_THRESHOLDS:
        return text
    with suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text} is given; it must be between 0 and 1 (exclusive), or {BEST_THRESHOLDS}"
    )
