"""``export``: write features and labels in VALOR's or HAN's layout."""

import argparse
from pathlib import Path

from pipeline.cli.shared.arguments import add_vocabulary
from pipeline.cli.shared.sources import add_encoder_folders
from pipeline.core.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--features", type=Path, required=True, metavar="DIR", help="folder of clip-*/ and clap-*/")
    add_encoder_folders(parser)
    add(
        "--pseudo-labels",
        type=Path,
        metavar="DIR",
        help="folder of labels.safetensors; not needed for HAN's layout",
    )
    add(
        "--layout",
        choices=("valor", "han"),
        required=True,
        help="one .npy per video and encoder, in VALOR's or HAN's folders",
    )
    add(
        "--audio-array",
        choices=("map", "embedding"),
        default="map",
        help="CLAP features to write (default: map, VALOR++'s input)",
    )
    add_vocabulary(parser)
    add("--out", type=Path, required=True, metavar="DIR", help="new folder to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the files and print how many videos they cover."""
    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.training.npy_export import ExportSource, export

    source = ExportSource(
        arguments.features,
        arguments.pseudo_labels,
        arguments.clip,
        arguments.clap,
        arguments.motion,
        arguments.audio_array,
    )
    vocabulary = read_vocabulary(arguments.vocabulary)
    videos = export(source, arguments.layout, vocabulary, arguments.out)
    print(f"{counted(videos, 'video')} written to '{arguments.out}'")
