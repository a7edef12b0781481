"""Arguments that ``train`` and ``predict`` share: where features, labels and tables are."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.arguments import add_annotations, add_machine, add_vocabulary

if TYPE_CHECKING:
    from pipeline.training.sources import FeatureSource


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    folder: dict[str, Any] = {"type": Path, "metavar": "DIR"}
    add = parser.add_argument
    add("--features", required=True, help="clip-*/ and clap-*/, or a --layout's folders", **folder)
    add("--clip", metavar="NAME", help="which clip-*/ folder, if there are several")
    add("--clap", metavar="NAME", help="which clap-*/ folder, if there are several")
    add("--motion", metavar="NAME", help="which motion-*/ folder, if there are several")
    add(
        "--pseudo-labels",
        help="folder of labels.safetensors (default: beside features), or, with .npy files, of"
        " CLIP/ and CLAP/ with labels (default: in features or beside it)",
        **folder,
    )
    add(
        "--layout",
        choices=("shards", "valor", "han"),
        default="shards",
        help="the pipeline's shards, or one .npy a video as VALOR's or HAN's authors ship",
    )
    add(
        "--clap-logit-scale",
        type=float,
        metavar="X",
        help="with .npy files: CLAP's exp(logit_scale), where segment_logits are missing",
    )
    add_annotations(parser)
    add_vocabulary(parser)
    add_machine(parser)
    add("--out", required=True, help="folder for the results", **folder)


def source_of(arguments: argparse.Namespace) -> "FeatureSource":
    """Return where features and labels are read from."""
    from pipeline.training.npy_source import NpySource
    from pipeline.training.sources import ShardSource

    if arguments.layout != "shards":
        return NpySource(
            arguments.features,
            arguments.layout,
            arguments.clap_logit_scale,
            arguments.pseudo_labels,
        )
    beside = Path(os.path.abspath(arguments.features)).parent / "pseudo_labels"
    return ShardSource(
        arguments.features,
        arguments.pseudo_labels or beside,
        arguments.clip,
        arguments.clap,
        arguments.motion,
    )
