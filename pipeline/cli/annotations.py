"""``annotations``: check annotation tables."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_vocabulary
from pipeline.cli.shared.options import add_options
from pipeline.media.options import WindowOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_annotations(parser)
    add_vocabulary(parser)
    add_options(parser, WindowOptions, only={"segments"})
    parser.add_argument(
        "--out", type=Path, required=True, metavar="TSV", help="table of findings to write"
    )


def run(arguments: argparse.Namespace) -> None:
    """Check the tables and write the report."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.data.annotation_checks import check_annotations, write_findings

    vocabulary = read_vocabulary(arguments.vocabulary)
    findings = check_annotations(arguments.annotations, vocabulary, arguments.segments)
    write_findings(arguments.out, findings)
