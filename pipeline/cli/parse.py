"""``parse``: detect audio and visual events in unlabelled videos."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.shared.arguments import add_gpus, add_machine, add_workers, limit_threads
from pipeline.cli.shared.options import add_options
from pipeline.core.errors import PipelineError
from pipeline.core.files import check_writable
from pipeline.core.vocabulary import DEFAULT_PATH
from pipeline.core.wording import counted
from pipeline.inference.options import ParseOptions
from pipeline.media.options import DecodeOptions

if TYPE_CHECKING:
    from pipeline.inference.parser import Parser

logger = logging.getLogger(__name__)

# Videos whose events are printed; all are in the files.
MOST_PRINTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
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
        type=Path,
        metavar="JSON",
        help="parsing.json of the checkpoint's run (default: looked up beside and above it)",
    )
    add(
        "--preset",
        metavar="NAME",
        help="with --classes: encoders of a preset: llp, whose published CLIP and CLAP are"
        " downloaded on first use, or demo, whose small encoders only know the demo's videos"
        " (default: config.yaml of the working directory, else demo). Downloads are kept in"
        " resources/hub if the working directory is a run folder (it has a config.yaml, Snakefile,"
        " .snakemake or resources/hub), else in ~/.cache/avvp/hub; AVVP_HUB names another folder",
    )
    add(
        "--config",
        type=Path,
        action="append",
        metavar="YAML",
        help="encoders of a configuration file; repeatable, later files over earlier ones; with"
        " --checkpoint too, if its encoders have moved",
    )
    add(
        "--vocabulary",
        type=Path,
        default=DEFAULT_PATH,
        metavar="YAML",
        help="with --classes: other classes that may occur (default: LLP's 25)",
    )
    add_options(parser, ParseOptions)
    add(
        "--redo",
        action="store_true",
        help="parse videos again that OUT has results of with the same settings",
    )
    add_options(parser, DecodeOptions, only={"timeout_seconds"})
    add_workers(parser)
    add_machine(parser)
    add_gpus(parser)


def run(arguments: argparse.Namespace) -> None:
    """Parse the videos; print their events and the path of the page."""
    from pipeline.inference.input_files import find_files
    from pipeline.inference.stage import parse_files
    from pipeline.inference.tables import events_text

    # Before the encoders are loaded, which takes long.
    files = find_files(arguments.videos, arguments.follow_links)
    check_writable(arguments.out)
    limit_threads(arguments)
    parser = _trained(arguments) if arguments.classes is None else _zero_shot(arguments)
    parsed = parse_files(
        files,
        parser,
        arguments.out,
        overlap=arguments.overlap,
        workers=arguments.workers,
        timeout_seconds=arguments.timeout_seconds,
        embed_bytes=int(arguments.embed_mb * (1 << 20)),
        redo=arguments.redo,
    )
    for video in parsed[:MOST_PRINTED]:
        if len(parsed) > 1:
            print(f"{video.title}:")
        print(events_text(video.events))
    if len(parsed) > MOST_PRINTED:
        print(f"... and {counted(len(parsed) - MOST_PRINTED, 'more video')}")
    page = arguments.out / "index.html" if len(parsed) > 1 else None
    print(page or arguments.out / parsed[0].name / "index.html")


def _zero_shot(arguments: argparse.Namespace) -> "Parser":
    """Return a parser for the classes that are named."""
    from pipeline.api import zero_shot
    from pipeline.config.load import CONFIG_FILE

    if arguments.settings is not None:
        raise PipelineError("--settings needs --checkpoint; --classes uses --preset or --config.")
    preset, config = arguments.preset, arguments.config
    if config is None and preset is None:
        config = [CONFIG_FILE] if CONFIG_FILE.is_file() else None
        if config is None:
            preset = "demo"
            logger.warning(
                "using the demo's small encoders, which only know the demo's videos; --preset llp"
                " uses the published CLIP and CLAP"
            )
    return zero_shot(
        arguments.classes,
        preset=preset,
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
            "--preset needs --classes; a checkpoint has its own encoders, or those of --config."
        )
    if arguments.vocabulary != DEFAULT_PATH:
        raise PipelineError("--vocabulary needs --classes; a checkpoint has its own classes.")
    folder = parser_folder(arguments.checkpoint)
    settings = read_parser_settings(folder, arguments.settings)
    if arguments.config:
        from pipeline.config.load import load_config
        from pipeline.config.settings import inference_settings

        moved = inference_settings(load_config(arguments.config), settings.classes)
        settings = settings.model_copy(update={"encoders": moved.encoders})
    return load_parser(
        folder, device=arguments.device, threshold=arguments.threshold, settings=settings
    )
