"""``python -m pipeline demo``: render the synthetic corpus."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    parser.add_argument("--seed", type=int, default=0, help="seed of the corpus (default 0)")
    for split, count in (("train", 240), ("val", 60), ("test", 100)):
        parser.add_argument(
            f"--{split}", type=int, default=count, help=f"videos of {split} (default {count})"
        )
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for videos/, annotations/ and corpus.json"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the stage."""
    from pipeline.demo.corpus import make_corpus
    from pipeline.demo.scripts import DEMO_SPLITS

    counts = {split: getattr(arguments, split) for split in DEMO_SPLITS}
    make_corpus(arguments.out, arguments.seed, counts, arguments.workers)
