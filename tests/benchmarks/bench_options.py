"""What the encoders' options gain and cost: speed and embeddings beside plain fp32, in one run.

Every variant takes turns with the plain encoder on the same segments and the same weights. Errors
are of embeddings: the largest difference of a value, and the smallest cosine of a segment.

``python tests/benchmarks/bench_options.py [--device cpu] [--repeats 3] [--videos N] [NAME ...]
[--options bf16 ...]``
"""

import argparse
from functools import partial

import numpy as np
from bench_encode import SPECS, T, segments_of, timed

from pipeline.features.encoders.base import Encoder, load_encoder

# Batch sizes are tried of plain fp32; the options at the encoder's own.
OPTIONS = ("channels_last", "compiled", "bf16")
BATCH_SIZES = (1, 10, 20, 40, 80)


def variant(name: str, option: str, device: str) -> Encoder:
    """Return an encoder with one option on."""
    spec, batch_size = SPECS[name]
    changes: dict[str, object] = {"batch_size": batch_size}
    if option == "bf16":
        changes |= {"precision": "bf16"}
    elif option.isdecimal():
        changes |= {"batch_size": int(option)}
    else:
        changes |= {option: True}
    return load_encoder(spec.model_copy(update=changes), device)


def measure(name: str, options: list[str], videos: int, repeats: int, device: str) -> None:
    """Print a line for every option of one encoder."""
    spec, batch_size = SPECS[name]
    plain = load_encoder(spec.model_copy(update={"batch_size": batch_size}), device)
    segments = segments_of(plain, videos)
    expected = plain.embed(segments)["embedding"]
    for option in options:
        other = variant(name, option, device)
        found = other.embed(segments)["embedding"]  # compiles
        runs = [partial(encoder.embed, segments) for encoder in (plain, other)]
        seconds = np.array([[timed(run, device) for run in runs] for _ in range(repeats)])
        lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
        cosine = ((expected * found).sum(axis=-1) / lengths).min()
        rate, gain = videos * T / np.median(seconds[:, 0]), seconds[:, 0] / seconds[:, 1]
        error = np.abs(expected - found).max()
        columns = (f"{rate:.3g}", f"{np.median(gain):.2f}", f"{error:.1e}", f"{1 - cosine:.1e}")
        print(name, option, *columns, sep="\t", flush=True)


def main() -> None:
    """Print plain segments a second, each option's speed over plain, and its errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", type=int, help="by default 8 for small models, 1 for large")
    parser.add_argument("--options", nargs="+", default=OPTIONS)
    parser.add_argument("--batch-sizes", action="store_true", help="instead of the options")
    parser.add_argument("names", nargs="*", default=list(SPECS))
    arguments = parser.parse_args()
    options = [str(size) for size in BATCH_SIZES] if arguments.batch_sizes else arguments.options
    print("encoder", "option", "plain segments/s", "gain", "max abs", "1 - cosine", sep="\t")
    for name in arguments.names:
        videos = arguments.videos or (8 if name.startswith("demo") else 1)
        measure(name, options, videos, arguments.repeats, arguments.device)


if __name__ == "__main__":
    main()
