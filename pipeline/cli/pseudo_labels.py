"""``pseudo-labels``: label segments by CLIP and CLAP similarity to class captions."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import (
    add_annotations,
    add_machine,
    add_vocabulary,
    limit_threads,
)
from pipeline.cli.shared.options import add_options
from pipeline.labels.thresholds import LabelOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    folders = {
        "--clip": "CLIP features: K-of-N.safetensors and prompts.safetensors",
        "--clap": "CLAP features, likewise",
        "--out": "folder to write: labels.safetensors, thresholds.tsv, quality.json",
    }
    for option, meaning in folders.items():
        parser.add_argument(option, type=Path, required=True, metavar="DIR", help=meaning)
    parser.add_argument(
        "--masked-labels",
        type=Path,
        metavar="FILE",
        help="masked_labels.safetensors of import-features, used as they are without --teacher",
    )
    add_annotations(parser)
    add_vocabulary(parser)
    add_options(parser, LabelOptions)
    add_machine(parser)


def run(arguments: argparse.Namespace) -> None:
    """Label every video that has features of both encoders."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.labels.pseudo_labels import make_pseudo_labels

    if arguments.teacher:
        limit_threads(arguments)
    make_pseudo_labels(
        arguments.clip,
        arguments.clap,
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.thresholds,
        arguments.out,
        arguments.masked_labels,
        Path(arguments.teacher) if arguments.teacher else None,
        arguments.device,
    )
