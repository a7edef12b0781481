"""``parse``: what is heard and seen in videos that nobody annotated."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.arguments import add_gpus, count, seconds
from pipeline.core.errors import PipelineError
from pipeline.core.files import REPOSITORY
from pipeline.core.vocabulary import DEFAULT_PATH, read_vocabulary

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
    add("--setup", type=Path, metavar="JSON", help="parsing.json, where it is not above DIR")
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
    add("--overlap", type=int, metavar="SECONDS", help="of windows (default: half of one, or 0)")
    add("--threshold", type=float, metavar="P", help="of events (default: the method's own)")
    add(
        "--embed-mb",
        type=_megabytes,
        default=24.0,
        metavar="MB",
        help="up to this the page holds the video itself (default: %(default)g)",
    )
    add("--workers", type=count, default=1, help="decode processes at a time (default: 1)")
    add("--timeout-seconds", type=seconds, default=60.0, help="for one window (default: 60)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:INDEX (default: auto)")
    add("--threads", type=count, metavar="N", help="CPU threads (default: OMP_NUM_THREADS, or all)")
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Parse; print where to look."""
    from pipeline.cli.sources import limit_threads
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
    if arguments.threshold is not None and not 0 < arguments.threshold < 1:
        raise PipelineError(f"threshold is {arguments.threshold:g}; allowed is 0 to 1, neither.")
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


def _megabytes(text: str) -> float:
    """Read a size that has an end."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is given; allowed is 0 or more, and no inf")
    return value


def _setup(arguments: argparse.Namespace) -> "InferenceSettings":
    """Return the run's setup, or one of a configuration for the classes that are named."""
    from pipeline.config.models import read_config
    from pipeline.inference.predictors import classes_of
    from pipeline.inference.settings import find_settings, read_settings, settings_from_config

    if arguments.classes is not None:
        default = Path("config.yaml")
        config = arguments.config or (default if default.is_file() else REPOSITORY / default)
        return settings_from_config(read_config(config), classes_of(arguments.classes))
    setup = read_settings(arguments.setup or find_settings(arguments.checkpoint))
    if arguments.config:
        return settings_from_config(read_config(arguments.config), setup.classes)
    return setup
