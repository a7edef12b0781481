"""``segments``: decode one shard's videos into one-second segments."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_shard, add_videos, add_workers
from pipeline.cli.shared.options import add_options, options_from
from pipeline.media.options import Decoding, FolderOptions
from pipeline.media.segments import ARRAYS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add_annotations(parser)
    add_videos(parser)
    add_shard(parser)
    add_options(parser, Decoding)
    add_options(parser, FolderOptions)
    add(
        "--arrays",
        nargs="+",
        choices=ARRAYS,
        default=ARRAYS,
        help="arrays to write (default: both)",
    )
    add_workers(parser)
    add("--out", type=Path, required=True, metavar="FILE", help="shard to write (.safetensors)")
    add("--status", type=Path, required=True, metavar="TSV", help="its status table")


def run(arguments: argparse.Namespace) -> None:
    """Decode the shard."""
    from pipeline.data.manifest import list_videos, rows_of_shard
    from pipeline.media.segments import run_shard

    decoding = options_from(arguments, Decoding)
    shard, shards = arguments.shard
    rows = list_videos(
        arguments.annotations, arguments.videos, shards, decoding.untrimmed, arguments.follow_links
    )
    run_shard(
        [row.window for row in rows_of_shard(rows, shard, shards)],
        decoding,
        arguments.workers,
        arguments.out,
        arguments.status,
        arguments.arrays,
    )
