"""``manifest``: list every video with its split, file and shard."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_annotations, add_videos, count
from pipeline.cli.options import add_options
from pipeline.media.options import WindowOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_annotations(parser)
    add_videos(parser)
    add_options(parser, WindowOptions, only={"untrimmed"})
    parser.add_argument("--shards", type=count, required=True, metavar="N", help="number of shards")
    parser.add_argument("--out", type=Path, required=True, metavar="TSV", help="the table to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the manifest."""
    from pipeline.data.manifest import list_videos, write_manifest

    rows = list_videos(
        arguments.annotations, arguments.videos, arguments.shards, arguments.untrimmed
    )
    write_manifest(arguments.out, rows)
