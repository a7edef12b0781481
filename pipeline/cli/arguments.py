"""Arguments that several stages share, each declared once."""

import argparse
from pathlib import Path

from pipeline.core.files import RESOURCES
from pipeline.core.vocabulary import DEFAULT_PATH

# Longer than anything here takes; alarms and sockets know no endless time.
DAY = 86_400


def count(text: str) -> int:
    """Read how many of something there are, 1 or more; argparse says what was given else."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is given; allowed is 1 or more")
    return value


def seconds(text: str) -> float:
    """Read how long something may take, above 0 and at most a day."""
    value = float(text)
    if not 0 < value <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is given; allowed is above 0, to {DAY}, a day")
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
        help="the classes and their captions (default: LLP's 25)",
    )


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Declare where the video files are and what they hold."""
    parser.add_argument(
        "--videos", type=Path, required=True, metavar="DIR", help="folder of the video files"
    )
    parser.add_argument(
        "--untrimmed",
        action="store_true",
        help="files named by the id alone are full videos, not clips",
    )


def add_published(parser: argparse.ArgumentParser) -> None:
    """Declare which published results stand beside, or apart from, the run's own."""
    parser.add_argument(
        "--published",
        type=Path,
        default=RESOURCES / "published.yaml",
        metavar="YAML",
        help="results that other work reports",
    )
    parser.add_argument(
        "--dataset",
        choices=("llp", "other"),
        default="other",
        help="llp: the run's results stand beside the published ones (default: other)",
    )


def add_gpus(parser: argparse.ArgumentParser) -> None:
    """Declare how many GPUs are the process's own; the command line claims them (``main``)."""
    parser.add_argument(
        "--gpus",
        type=int,
        metavar="N",
        help="wait for N GPUs that no other job has claimed, and see no others (default: see all)",
    )
