"""``pseudo-labels``: label segments by similarity to the captions."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_annotations, add_vocabulary
from pipeline.cli.options import add_options
from pipeline.labels.thresholds import LabelOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's arguments."""
    folders = {
        "--clip": "CLIP features: K-of-N.safetensors and prompts.safetensors",
        "--clap": "CLAP features: the same",
        "--out": "folder to write: labels.safetensors, thresholds.tsv, quality.json",
    }
    for option, meaning in folders.items():
        parser.add_argument(option, type=Path, required=True, metavar="DIR", help=meaning)
    parser.add_argument(
        "--masked-labels",
        type=Path,
        metavar="FILE",
        help="masked_labels.safetensors of import-features, used as they are",
    )
    add_annotations(parser)
    add_vocabulary(parser)
    add_options(parser, LabelOptions)


def run(arguments: argparse.Namespace) -> None:
    """Label every video that both encoders have features of."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.labels.pseudo_labels import make_pseudo_labels

    make_pseudo_labels(
        arguments.clip,
        arguments.clap,
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.thresholds,
        arguments.out,
        arguments.masked_labels,
    )
