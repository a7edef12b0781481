"""``manifest``: list every video with its split, file and shard."""

import argparse
import logging
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_videos, count
from pipeline.cli.shared.options import add_options
from pipeline.media.options import FolderOptions, WindowOptions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_annotations(parser)
    add_videos(parser)
    add_options(parser, WindowOptions, only={"untrimmed"})
    add_options(parser, FolderOptions)
    parser.add_argument("--shards", type=count, required=True, metavar="N", help="number of shards")
    parser.add_argument("--out", type=Path, required=True, metavar="TSV", help="the table to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the manifest, and name the other entries of the folder."""
    from pipeline.data.manifest import list_videos, unused_files, write_manifest
    from pipeline.media.folder import read_folder

    rows = list_videos(
        arguments.annotations,
        arguments.videos,
        arguments.shards,
        arguments.untrimmed,
        arguments.follow_links,
    )
    write_manifest(arguments.out, rows)
    folder = read_folder(arguments.videos, arguments.follow_links)
    for sentence in filter(None, [*folder.summary(), unused_files(folder, rows)]):
        logger.warning("'%s': %s", arguments.videos, sentence)
