"""Arguments that ``train`` and ``predict`` share: where features, labels and tables are."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.shared.arguments import add_annotations, add_machine, add_vocabulary, positive

if TYPE_CHECKING:
    from pipeline.training.sources import FeatureSource


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    folder: dict[str, Any] = {"type": Path, "metavar": "DIR"}
    add = parser.add_argument
    add(
        "--features",
        required=True,
        help="folder with clip-*/ and clap-*/, or with a --layout's folders",
        **folder,
    )
    add_encoder_folders(parser)
    add(
        "--pseudo-labels",
        help="folder of labels.safetensors (default: beside the features); with .npy files, folder"
        " of CLIP/ and CLAP/ with labels (default: in the features' folder or beside it)",
        **folder,
    )
    add(
        "--layout",
        choices=("shards", "valor", "han", "uwav"),
        default="shards",
        help="the pipeline's shards, or one .npy per video as released by the authors of VALOR, HAN"
        " or UWAV (default: shards)",
    )
    add(
        "--clap-logit-scale",
        type=positive,
        metavar="X",
        help="CLAP's exp(logit_scale), for .npy files without segment_logits",
    )
    add_annotations(parser)
    add_vocabulary(parser)
    add_machine(parser)
    add("--out", required=True, help="folder to write", **folder)


def add_encoder_folders(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose among several feature folders of one encoder."""
    for encoder in ("clip", "clap", "motion"):
        parser.add_argument(
            f"--{encoder}",
            metavar="NAME",
            help=f"which {encoder}-*/ folder, if there are several",
        )


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
