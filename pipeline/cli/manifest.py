"""``manifest``: list every video with its split, file and shard."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    parser.add_argument("--annotations", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--videos", type=Path, required=True, help="folder of the video files")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument(
        "--untrimmed",
        action="store_true",
        help="files named by the id alone are full videos, not clips",
    )
    parser.add_argument("--out", type=Path, required=True, help="the table to write (.tsv)")


def run(arguments: argparse.Namespace) -> None:
    """Write the manifest."""
    from pipeline.manifest import plan, write_manifest

    rows = plan(arguments.annotations, arguments.videos, arguments.shards, arguments.untrimmed)
    write_manifest(arguments.out, rows)
