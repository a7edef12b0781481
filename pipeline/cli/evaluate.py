"""``evaluate``: score predicted event tables with the published LLP metrics."""

import argparse
from os.path import realpath
from pathlib import Path

from pipeline.cli.shared.arguments import add_corrections, add_vocabulary
from pipeline.cli.shared.options import add_options
from pipeline.core.errors import PipelineError
from pipeline.evaluation.options import CoverageOptions
from pipeline.media.options import WindowOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    tables = {
        "--videos": "table that lists the videos to score",
        "--truth-audio": "annotated audible events",
        "--truth-visual": "annotated visible events",
        "--predicted-audio": "predicted audible events",
        "--predicted-visual": "predicted visible events",
    }
    for option, meaning in tables.items():
        parser.add_argument(option, type=Path, required=True, metavar="CSV", help=meaning)
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file to write")
    parser.add_argument(
        "--predicted-videos",
        type=Path,
        metavar="TABLE",
        help="the parsed videos: a table with the column filename, or a model's probabilities file"
        " (default: all listed videos count as parsed)",
    )
    add_options(parser, CoverageOptions)
    add_corrections(parser)
    add_options(parser, WindowOptions, only={"segments"})
    add_vocabulary(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score the tables, write the scores and print them."""
    from pipeline.core.files import write_json
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.data.corrections import read_corrections
    from pipeline.evaluation.coverage import ParsedVideos
    from pipeline.evaluation.evaluate import summary
    from pipeline.evaluation.sources import evaluate_events

    tables = [
        arguments.videos,
        arguments.truth_audio,
        arguments.truth_visual,
        arguments.predicted_audio,
        arguments.predicted_visual,
        arguments.predicted_videos,
    ]
    # Path.resolve raises an error for links in a circle.
    if any(table and realpath(table) == realpath(arguments.out) for table in tables):
        raise PipelineError(f"--out '{arguments.out}' is one of the tables; choose another file.")
    vocabulary, folder = read_vocabulary(arguments.vocabulary), arguments.corrections
    evaluation = evaluate_events(
        arguments.videos,
        (arguments.truth_audio, arguments.truth_visual),
        (arguments.predicted_audio, arguments.predicted_visual),
        vocabulary,
        arguments.segments,
        ParsedVideos.of(arguments.predicted_videos, arguments.missing),
        None if folder is None else read_corrections(folder, vocabulary),
    )
    write_json(arguments.out, evaluation)
    print(summary(evaluation))
