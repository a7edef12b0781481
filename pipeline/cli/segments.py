"""``segments``: decode one shard's videos into 1-second segments."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_annotations, add_videos, count, seconds
from pipeline.media.options import POLICIES
from pipeline.media.segments import ARRAYS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add_annotations(parser)
    add_videos(parser)
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 1")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--segments", type=int, default=10, help="T, seconds of a video")
    parser.add_argument("--sampling", choices=("center", "valor"), default="center")
    parser.add_argument("--frames-per-segment", type=int, default=1, help="K")
    parser.add_argument("--frame-size", type=int, default=224, help="side in pixels")
    parser.add_argument("--frame-transform", choices=("clip", "valor"), default="clip")
    parser.add_argument("--audio-slicing", choices=("exact", "valor"), default="exact")
    parser.add_argument("--missing-audio", choices=POLICIES, default="pad", help="no sound")
    parser.add_argument("--missing-video", choices=POLICIES, default="drop", help="no pictures")
    parser.add_argument("--short", choices=POLICIES, default="pad", help="half a second is lacking")
    parser.add_argument(
        "--decoder", choices=("pyav", "decord"), default="pyav", help="asked first for frames"
    )
    parser.add_argument(
        "--arrays",
        nargs="+",
        choices=ARRAYS,
        default=ARRAYS,
        help="what is written (default: both); motion needs frames alone",
    )
    parser.add_argument("--timeout-seconds", type=seconds, default=60.0, help="for one video")
    parser.add_argument("--workers", type=count, default=1, help="decode processes at a time")
    parser.add_argument("--out", type=Path, required=True, help="the shard to write (.safetensors)")
    parser.add_argument("--status", type=Path, required=True, help="its status table (.tsv)")


def run(arguments: argparse.Namespace) -> None:
    """Decode the shard."""
    from pipeline.data.manifest import list_videos, rows_of_shard
    from pipeline.media.options import Decoding
    from pipeline.media.segments import run_shard

    rows = list_videos(
        arguments.annotations, arguments.videos, arguments.shards, arguments.untrimmed
    )
    decoding = Decoding(
        segments=arguments.segments,
        sampling=arguments.sampling,
        frames_per_segment=arguments.frames_per_segment,
        frame_size=arguments.frame_size,
        frame_transform=arguments.frame_transform,
        audio_slicing=arguments.audio_slicing,
        missing_audio=arguments.missing_audio,
        missing_video=arguments.missing_video,
        short=arguments.short,
        untrimmed=arguments.untrimmed,
        decoder=arguments.decoder,
    )
    run_shard(
        [row.window for row in rows_of_shard(rows, arguments.shard, arguments.shards)],
        decoding,
        arguments.workers,
        arguments.timeout_seconds,
        arguments.out,
        arguments.status,
        arguments.arrays,
    )
