"""``teacher``: train UWAV's temporal label network on densely labelled videos."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_gpus, add_machine, limit_threads, seconds, seed_number
from pipeline.cli.shared.options import add_options, options_from
from pipeline.labels.teacher_options import TeacherOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    for encoder in ("clip", "clap"):
        parser.add_argument(
            f"--{encoder}",
            type=Path,
            required=True,
            metavar="PATH",
            help=f"{encoder.upper()} features with prompts, or UWAV's: a folder or zip archive with"
            " segment_feats/ and event_feats/",
        )
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="JSON",
        help="dense annotations in UnAV-100's format",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write: teacher.safetensors, curve.csv",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=1000, help="seed (default: 1000, the released code's)"
    )
    add_options(parser, TeacherOptions)
    parser.add_argument(
        "--save-every",
        type=seconds,
        default=20.0,
        metavar="SECONDS",
        help="how often to save the state that a killed run resumes from (default: 20)",
    )
    add_machine(parser)
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train the network."""
    options = options_from(arguments, TeacherOptions)

    from pipeline.core.devices import choose_device
    from pipeline.training.dense_videos import read_dense_data
    from pipeline.training.teacher import TeacherJob, train_teacher

    limit_threads(arguments)
    device = choose_device(arguments.device)
    data = read_dense_data(arguments.clip, arguments.clap, arguments.annotations)
    train_teacher(
        TeacherJob(options, data, arguments.seed, device), arguments.out, arguments.save_every
    )
