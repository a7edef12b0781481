"""The arguments that say which encoder, shared by the stages that load one."""

import argparse
from typing import TYPE_CHECKING

from pipeline.features.encoders.spec import BACKENDS, PRECISIONS, STORAGES, EncoderSpec

if TYPE_CHECKING:
    from pipeline.features.encoders.base import Encoder


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name an encoder and where it runs."""
    backends = sorted({backend for some in BACKENDS.values() for backend in some})
    add = parser.add_argument
    add("--encoder", required=True, choices=BACKENDS, help="clip, clap or motion")
    add("--backend", required=True, choices=backends, help="the library that runs it")
    add("--model", required=True, help="architecture: name, .json config or transformers folder")
    add("--weights", required=True, help=".safetensors or .pt file; or random[:SEED]")
    add("--sha256", help="checksum that the weights must have")
    add("--tokenizer", help="folder of CLAP's tokenizer; default: the model folder")
    add("--precision", choices=PRECISIONS, default="fp32", help="default: %(default)s")
    add("--storage", choices=STORAGES, default="float32", help="of the cache (default: float32)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:INDEX; default: %(default)s")
    add(
        "--batch-size",
        type=_batch_size,
        default=64,
        help="segments at a time, or auto; default: %(default)s",
    )
    add("--channels-last", action="store_true", help="images and clips lie channel by channel")
    add("--compiled", action="store_true", help="torch compiles the tower of the segments")


def encoder_from(arguments: argparse.Namespace) -> "Encoder":
    """Load the encoder that the arguments name."""
    from pipeline.features.encoders.base import load_encoder

    spec = EncoderSpec(
        encoder=arguments.encoder,
        backend=arguments.backend,
        model=arguments.model,
        weights=arguments.weights,
        sha256=arguments.sha256,
        tokenizer=arguments.tokenizer,
        precision=arguments.precision,
        storage=arguments.storage,
    )
    return load_encoder(
        spec,
        arguments.device,
        arguments.batch_size,
        arguments.channels_last,
        arguments.compiled,
    )


def _batch_size(text: str) -> int | None:
    """Return a batch size; None stands for ``auto``."""
    if text == "auto":
        return None
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is neither auto nor a number from 1 on")
    return int(text)
