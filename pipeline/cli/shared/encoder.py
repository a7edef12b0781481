"""The arguments that say which encoder, shared by the commands that load one."""

import argparse
from typing import TYPE_CHECKING

from pipeline.cli.shared.arguments import add_machine
from pipeline.cli.shared.options import add_options
from pipeline.features.encoders.options import (
    ENCODER_OPTIONS,
    EncoderOptions,
    encoder_options,
)

if TYPE_CHECKING:
    from pipeline.features.encoders.base import Encoder


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name an encoder and where it runs."""
    parser.add_argument(
        "--encoder", required=True, choices=ENCODER_OPTIONS, help="which encoder it is"
    )
    add_options(parser, EncoderOptions, without={"url"})
    add_machine(parser)


def encoder_from(arguments: argparse.Namespace) -> "Encoder":
    """Load the encoder that the arguments name."""
    from pipeline.cli.shared.arguments import limit_threads
    from pipeline.features.encoders.base import load_encoder

    limit_threads(arguments)
    fields = [name for name in EncoderOptions.model_fields if name in arguments]
    values = {name: getattr(arguments, name) for name in fields}
    return load_encoder(encoder_options(arguments.encoder, **values), arguments.device)
