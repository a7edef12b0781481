"""``videos``: download the videos that a folder lacks, and list what is missing."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.shared.arguments import add_annotations, add_videos
from pipeline.cli.shared.options import add_options, options_from
from pipeline.data.download.options import DownloadOptions
from pipeline.media.options import FolderOptions, WindowOptions

if TYPE_CHECKING:
    from pipeline.data.manifest import ManifestRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_annotations(parser)
    add_videos(parser)
    add_options(parser, WindowOptions, only={"untrimmed"})
    add_options(parser, FolderOptions)
    parser.add_argument("--list", action="store_true", help="only list what is missing")
    add_options(parser, DownloadOptions)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for missing.tsv and coverage.tsv"
    )


def run(arguments: argparse.Namespace) -> None:
    """Download, write what is missing, and print each split's coverage."""
    from pipeline.data.download.coverage import write_coverage

    try:
        if not arguments.list:
            _download(arguments)
    finally:
        rows = _rows(arguments)
        coverage = write_coverage(rows, arguments.videos, arguments.out)
        print("\n".join([*map(str, coverage), f"missing: {arguments.out / 'missing.tsv'}"]))


def _download(arguments: argparse.Namespace) -> None:
    from pipeline.data.download.run import download_missing

    options = options_from(arguments, DownloadOptions)
    arguments.videos.mkdir(parents=True, exist_ok=True)
    download_missing(_rows(arguments), arguments.videos, options)


def _rows(arguments: argparse.Namespace) -> "list[ManifestRow]":
    from pipeline.data.manifest import list_videos

    return list_videos(
        arguments.annotations, arguments.videos, 1, arguments.untrimmed, arguments.follow_links
    )
