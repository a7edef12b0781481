"""``videos``: download what a folder of videos lacks, and list what is missing."""

import argparse
from pathlib import Path
from typing import get_args

from pipeline.cli.arguments import add_annotations, add_videos, seconds
from pipeline.data.download import YOUTUBE
from pipeline.data.download.history import Retry
from pipeline.data.download.pace import Politeness


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add_annotations(parser)
    add_videos(parser)
    add = parser.add_argument
    add("--list", action="store_true", help="ask for nothing; only list what is missing")
    add(
        "--retry",
        choices=get_args(Retry),
        default="transient",
        help="which of those that did not come earlier are asked for again (default: transient)",
    )
    add("--url", default=YOUTUBE, help="a video's address, {id} for its id (default: YouTube's)")
    add("--height", type=int, default=360, metavar="PIXELS", help="of the pictures (default: 360)")
    add("--cookies", type=Path, metavar="FILE", help="cookie file in Netscape's format")
    add("--timeout-seconds", type=seconds, default=30.0, help="longest silence (default: 30)")
    for option, meaning in {
        "sleep_seconds": "mean pause between two videos",
        "attempts": "how often to ask while a trouble may pass",
        "backoff_seconds": "wait before the second attempt; it doubles",
        "stop_after": "signs of blocking that end the run",
        "seed": "of the jitter of pauses and waits",
    }.items():
        default = getattr(Politeness, option)
        meaning = f"{meaning} (default: {default:g})"
        add(f"--{option.replace('_', '-')}", type=type(default), default=default, help=meaning)
    add("--out", type=Path, required=True, metavar="DIR", help="for missing.tsv and coverage.tsv")


def run(arguments: argparse.Namespace) -> None:
    """Download, write what is missing, and print each split's coverage."""
    from pipeline.data.download.coverage import write_coverage
    from pipeline.data.manifest import list_videos

    folders = (arguments.annotations, arguments.videos)
    try:
        if not arguments.list:
            _download(arguments)
    finally:
        rows = list_videos(*folders, shards=1, untrimmed=arguments.untrimmed)
        coverage = write_coverage(rows, arguments.videos, arguments.out)
        print("\n".join([*map(str, coverage), f"missing: {arguments.out / 'missing.tsv'}"]))


def _download(arguments: argparse.Namespace) -> None:
    from pipeline.data.download.run import download_missing
    from pipeline.data.download.site import Site
    from pipeline.data.manifest import list_videos

    if not arguments.videos.exists():
        arguments.videos.mkdir(parents=True)
    rows = list_videos(arguments.annotations, arguments.videos, 1, arguments.untrimmed)
    site = Site(
        url=arguments.url,
        height=arguments.height,
        cookies=arguments.cookies,
        timeout_seconds=arguments.timeout_seconds,
    )
    politeness = Politeness(
        sleep_seconds=arguments.sleep_seconds,
        attempts=arguments.attempts,
        backoff_seconds=arguments.backoff_seconds,
        stop_after=arguments.stop_after,
        seed=arguments.seed,
    )
    download_missing(rows, arguments.videos, site, politeness, arguments.retry)
