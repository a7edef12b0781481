"""``export``: write the cache in another project's layout."""

import argparse
from pathlib import Path

from pipeline.cli.arguments import add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add = parser.add_argument
    add("--features", type=Path, required=True, help="folder of clip-*/ and clap-*/")
    add("--clip", metavar="NAME", help="which clip-*/ folder, if there are several")
    add("--clap", metavar="NAME", help="which clap-*/ folder, if there are several")
    add("--motion", metavar="NAME", help="which motion-*/ folder, if there are several")
    add("--pseudo-labels", type=Path, help="folder of labels.safetensors; HAN's code needs none")
    add(
        "--layout",
        choices=("valor", "han"),
        required=True,
        help="one .npy a video and kind, in VALOR's folders or in HAN's",
    )
    add(
        "--audio-array",
        choices=("map", "embedding"),
        default="map",
        help="which CLAP features (default: map, VALOR++'s input)",
    )
    add_vocabulary(parser)
    add("--out", type=Path, required=True, help="new folder")


def run(arguments: argparse.Namespace) -> None:
    """Export."""
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
    print(f"{videos} videos are in '{arguments.out}'.")
