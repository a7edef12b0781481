"""``parse``: detect audio and visual events in unlabelled videos."""

import argparse
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.arguments import add_gpus, count, seconds
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import DEFAULT_PATH

if TYPE_CHECKING:
    from pipeline.inference.parser import Parser

logger = logging.getLogger(__name__)

CONFIG = Path("config.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEO", help="media files, or folders of them")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder of a trained parser, or hf:OWNER/NAME[@REVISION] on the Hugging Face Hub",
    )
    how.add_argument(
        "--classes", metavar="TEXT", help="classes in words, without training: 'a bell, a dog'"
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="output directory; one subfolder per video",
    )
    add(
        "--settings",
        "--setup",
        type=Path,
        metavar="JSON",
        help="parsing.json of the checkpoint's run (default: looked up beside and above it)",
    )
    encoders = parser.add_mutually_exclusive_group()
    encoders.add_argument(
        "--preset",
        metavar="NAME",
        help="encoders of a preset, with --classes: llp, or demo, whose small encoders only know"
        " the demo's videos (default: config.yaml of the working directory, else demo)",
    )
    encoders.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="encoders of a configuration; with --checkpoint too, if its encoders have moved",
    )
    add(
        "--vocabulary",
        type=Path,
        default=DEFAULT_PATH,
        metavar="YAML",
        help="with --classes: other classes that may occur (default: LLP's 25)",
    )
    add(
        "--overlap",
        type=int,
        metavar="SECONDS",
        help="overlap of windows (default: half a window, or 0 with --classes)",
    )
    add(
        "--threshold",
        type=float,
        metavar="P",
        help="threshold of events, between 0 and 1 (default: the method's own)",
    )
    add(
        "--embed-mb",
        type=_megabytes,
        default=24.0,
        metavar="MB",
        help="embed videos up to this size in their pages (default: %(default)g)",
    )
    add("--workers", type=count, default=1, help="number of decode processes (default: 1)")
    add(
        "--timeout-seconds",
        type=seconds,
        default=60.0,
        help="time limit for decoding one window (default: 60)",
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:INDEX (default: auto)")
    add("--threads", type=count, metavar="N", help="CPU threads (default: OMP_NUM_THREADS, or all)")
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Parse the videos and print the path of the page."""
    from pipeline.cli.sources import limit_threads
    from pipeline.inference.events import check_threshold
    from pipeline.inference.parser import DecodingOptions
    from pipeline.inference.stage import parse_files

    limit_threads(arguments)
    check_threshold(arguments.threshold)
    options = DecodingOptions(arguments.overlap, arguments.workers, arguments.timeout_seconds)
    parser = _zero_shot(arguments) if arguments.classes is not None else _trained(arguments)
    embed_bytes = int(arguments.embed_mb * (1 << 20))
    parsed = parse_files(arguments.videos, parser, arguments.out, options, embed_bytes)
    page = arguments.out / "index.html" if len(parsed) > 1 else None
    print(page or arguments.out / parsed[0].name / "index.html")


def _zero_shot(arguments: argparse.Namespace) -> "Parser":
    """Return a parser for the classes that are named."""
    from pipeline.api import zero_shot

    config = arguments.config
    if config is None and arguments.preset is None and CONFIG.is_file():
        config = CONFIG
    if config is None and arguments.preset is None:
        logger.warning(
            "using the demo's small encoders, which only know the demo's videos; --preset llp uses"
            " the published CLIP and CLAP"
        )
    return zero_shot(
        arguments.classes,
        preset=arguments.preset or "demo",
        config=config,
        references=arguments.vocabulary,
        device=arguments.device,
        threshold=arguments.threshold,
    )


def _trained(arguments: argparse.Namespace) -> "Parser":
    """Return the trained parser that is named, with the encoders of --config if it is given."""
    from pipeline.inference.packed import parser_folder, read_parser_settings
    from pipeline.inference.parser import load_parser

    if arguments.preset is not None:
        raise PipelineError(
            "--preset needs --classes; a checkpoint brings its own encoders, or takes --config."
        )
    folder = parser_folder(arguments.checkpoint)
    settings = read_parser_settings(folder, arguments.settings)
    if arguments.config:
        from pipeline.api import configured_settings

        other = configured_settings("", arguments.config)
        settings = other.model_copy(update={"classes": settings.classes})
    return load_parser(
        folder, device=arguments.device, threshold=arguments.threshold, settings=settings
    )


def _megabytes(text: str) -> float:
    """Read a finite size of 0 or more."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} MB must be 0 or more, and finite")
    return value
