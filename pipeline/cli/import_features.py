"""``import-features``: write released features as the pipeline's own shards."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_vocabulary, count
from pipeline.cli.shared.options import add_options, options_from
from pipeline.features.import_options import ReleasedFeatures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_options(parser, ReleasedFeatures)
    add_annotations(parser)
    add_vocabulary(parser)
    parser.add_argument("--shards", type=count, default=1, help="files per folder (default: 1)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write: clip-*/, clap-*/, motion-*/ and masked_labels.safetensors",
    )


def run(arguments: argparse.Namespace) -> None:
    """Import every video of the tables."""
    import torch

    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.features.imported import import_features

    torch.set_num_threads(1)  # small products, one after the other: more threads only wait
    import_features(
        options_from(arguments, ReleasedFeatures),
        arguments.annotations,
        read_vocabulary(arguments.vocabulary),
        arguments.shards,
        arguments.out,
    )
