"""``parse``: what is heard and seen in videos that nobody annotated."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.arguments import add_gpus, add_machine, add_workers, limit_threads
from pipeline.cli.options import add_options
from pipeline.core.files import REPOSITORY
from pipeline.core.vocabulary import DEFAULT_PATH, read_vocabulary
from pipeline.inference.options import ParseOptions
from pipeline.media.options import DecodeOptions

if TYPE_CHECKING:
    from pipeline.inference.settings import InferenceSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEO", help="media files, or folders of them")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--checkpoint", type=Path, metavar="DIR", help="folder a training left")
    how.add_argument("--classes", metavar="TEXT", help="'a bell, a dog, rain': with no training")
    add("--out", type=Path, required=True, metavar="DIR", help="a folder a video is written there")
    add("--settings", type=Path, metavar="JSON", help="parsing.json, if not in DIR or above it")
    add(
        "--config",
        type=Path,
        metavar="YAML",
        help="whose encoders to take: with --classes (default: config.yaml), or where a"
        " checkpoint's lie elsewhere by now",
    )
    add(
        "--vocabulary",
        type=Path,
        default=DEFAULT_PATH,
        metavar="YAML",
        help="with --classes: what else there might be (default: LLP's 25)",
    )
    add_options(parser, ParseOptions)
    add_options(parser, DecodeOptions, only={"timeout_seconds"})
    add_workers(parser)
    add_machine(parser)
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Parse; print where to look."""
    from pipeline.core.devices import choose_device
    from pipeline.inference.predictors import (
        Predictor,
        TrainedPredictor,
        ZeroShotPredictor,
        check_settings,
        load_encoders,
    )
    from pipeline.inference.stage import RunOptions, parse_files

    limit_threads(arguments)
    setup = _setup(arguments)
    if arguments.checkpoint:
        check_settings(arguments.checkpoint, setup)
    encoders = load_encoders(setup, arguments.device)
    reader: Predictor
    if arguments.checkpoint:
        device = choose_device(arguments.device)
        reader = TrainedPredictor(
            arguments.checkpoint, setup, encoders, device, arguments.threshold
        )
    else:
        references = read_vocabulary(arguments.vocabulary)
        reader = ZeroShotPredictor(setup.classes, references, encoders, arguments.threshold)
    default_overlap = setup.segments // 2 if arguments.checkpoint else 0
    options = RunOptions(
        overlap=default_overlap if arguments.overlap is None else arguments.overlap,
        workers=arguments.workers,
        timeout_seconds=arguments.timeout_seconds,
        embed_bytes=int(arguments.embed_mb * (1 << 20)),
    )
    parsed = parse_files(arguments.videos, reader, setup, encoders, options, arguments.out)
    page = arguments.out / "index.html" if len(parsed) > 1 else None
    print(page or arguments.out / parsed[0].name / "index.html")


def _setup(arguments: argparse.Namespace) -> "InferenceSettings":
    """Return the run's setup, or one of a configuration for the classes that are named."""
    from pipeline.config.load import load_config
    from pipeline.config.settings import inference_settings
    from pipeline.inference.predictors import classes_of
    from pipeline.inference.settings import find_settings, read_settings

    if arguments.classes is not None:
        default = Path("config.yaml")
        config = arguments.config or (default if default.is_file() else REPOSITORY / default)
        return inference_settings(load_config([config]), classes_of(arguments.classes))
    setup = read_settings(arguments.settings or find_settings(arguments.checkpoint))
    if arguments.config:
        return inference_settings(load_config([arguments.config]), setup.classes)
    return setup
