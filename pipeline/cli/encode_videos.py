"""``encode-videos``: decode and encode one shard's videos in one job."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import (
    add_annotations,
    add_gpus,
    add_machine,
    add_shard,
    add_videos,
    add_workers,
)
from pipeline.cli.shared.options import add_options
from pipeline.cli.shared.settings import add_settings, settings_from
from pipeline.media.options import FolderOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_settings(parser)
    add_annotations(parser)
    add_videos(parser)
    add_options(parser, FolderOptions)
    add_shard(parser)
    add_workers(parser)
    add_machine(parser)
    add_gpus(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write clip-FINGERPRINT/ and clap-FINGERPRINT/ into, each with the shard and"
        " its status table",
    )


def run(arguments: argparse.Namespace) -> None:
    """Decode and encode the shard."""
    from pipeline.cli.shared.arguments import limit_threads
    from pipeline.data.manifest import list_videos, rows_of_shard
    from pipeline.features.encoders.base import load_encoder
    from pipeline.features.from_videos import encode_videos, shard_files

    limit_threads(arguments)
    settings = settings_from(arguments)
    decoding = settings.decoding
    shard, shards = arguments.shard
    rows = list_videos(
        arguments.annotations, arguments.videos, shards, decoding.untrimmed, arguments.follow_links
    )
    videos = [row.window for row in rows_of_shard(rows, shard, shards)]
    encoders = {name: load_encoder(spec, arguments.device) for name, spec in settings.specs.items()}
    outputs = {
        name: shard_files(arguments.out / f"{name}-{made}", f"{shard}-of-{shards}")
        for name, made in settings.feature_fingerprints().items()
    }
    encode_videos(videos, outputs, decoding=decoding, encoders=encoders, workers=arguments.workers)
