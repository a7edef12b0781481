"""Arguments that several commands share, each declared once."""

import argparse
import math
import re
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import RESOURCES
from pipeline.core.options import LARGEST_SEED
from pipeline.core.vocabulary import DEFAULT_PATH


def count(text: str) -> int:
    """Read a number of things, 1 or more."""
    return _at_least(1, text)


def number(text: str) -> int:
    """Read a number of things, 0 or more."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is given; it must be {least} or more")
    return int(text)


def seed_number(text: str) -> int:
    """Read a seed of random numbers."""
    if not re.fullmatch(r"\d{1,19}", text) or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is given; it must be 0 to {LARGEST_SEED}")
    return int(text)


def positive(text: str) -> float:
    """Read a finite number above 0."""
    return _finite(text, math.ulp(0), "above 0")


def seconds(text: str) -> float:
    """Read a finite number of seconds, 0 or more."""
    return _finite(text, 0, "0 or more")


def _finite(text: str, least: float, allowed: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is given; it must be finite and {allowed}")
    return value


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Declare where the annotation tables are."""
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the annotation tables",
    )


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    """Declare which classes there are."""
    parser.add_argument(
        "--vocabulary",
        type=Path,
        default=DEFAULT_PATH,
        metavar="YAML",
        help="classes with captions and thresholds (default: LLP's 25)",
    )


def add_corrections(parser: argparse.ArgumentParser) -> None:
    """Declare where corrections of the annotated events are."""
    parser.add_argument(
        "--corrections",
        type=Path,
        metavar="DIR",
        help="folder of corrected event tables; also score with these in place of the annotations"
        " of the videos they list",
    )


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Declare where the video files are."""
    parser.add_argument(
        "--videos", type=Path, required=True, metavar="DIR", help="folder of the video files"
    )


def add_shard(parser: argparse.ArgumentParser) -> None:
    """Declare which part of the videos a job works on."""
    parser.add_argument(
        "--shard", type=_shard, required=True, metavar="K-of-N", help="which of how many shards"
    )


def _shard(text: str) -> tuple[int, int]:
    """Read ``K-of-N``."""
    match = re.fullmatch(r"(\d+)-of-(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is given; it must be K-of-N, as in 1-of-4")
    return int(match[1]), int(match[2])


def add_published(parser: argparse.ArgumentParser) -> None:
    """Declare which published results are shown with the run's own."""
    parser.add_argument(
        "--published",
        type=Path,
        default=RESOURCES / "published.yaml",
        metavar="YAML",
        help="published results",
    )
    add_dataset(parser)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Declare the name of the dataset."""
    parser.add_argument(
        "--dataset",
        default="other",
        metavar="NAME",
        help="name for the titles; llp puts the published results beside the run's own"
        " (default: other, which has no name)",
    )


def add_recipe_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Declare options of a recipe that are changed."""
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help=text)


def recipe_options(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options of a recipe that are changed.

    Raises
    ------
    PipelineError
        One is not KEY=VALUE.
    """
    options = {}
    for word in arguments.option:
        key, equals, value = word.partition("=")
        if not equals:
            raise PipelineError(f"--option {word!r} must have the form KEY=VALUE.")
        options[key.strip()] = value.strip()
    return options


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Declare where PyTorch runs."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:INDEX (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads (default: OMP_NUM_THREADS, or all)"
    )


def add_gpus(parser: argparse.ArgumentParser) -> None:
    """Declare how many GPUs the process reserves; the command line reserves them (``main``)."""
    parser.add_argument(
        "--gpus",
        type=number,
        metavar="N",
        help="reserve N free GPUs for this process (default: use all that are visible)",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare how many videos are processed at a time."""
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N", help="parallel processes (default: 1)"
    )


def limit_threads(arguments: argparse.Namespace) -> None:
    """Keep PyTorch to ``--threads``."""
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
