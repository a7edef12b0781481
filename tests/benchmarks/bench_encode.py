"""The features stage's throughput over that of a bare forward loop on tensors in memory.

Both take the same segments in the same batches, taking turns. The stage reads its shard, transforms
(normalised pixels, log-mel), encodes, writes features and a status table; the bare loop has its
pixels or spectrograms ready and calls the model alone.

``python tests/benchmarks/bench_encode.py [--device cpu] [--repeats 3] [--videos 8] [NAME ...]``
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})
REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

import numpy as np
import torch

from pipeline.core.shards import Shard, Status, StatusRow, write_shard, write_status
from pipeline.features.encoders.base import Encoder, load_encoder
from pipeline.features.encoders.options import EncoderOptions, encoder_options
from pipeline.features.encoders.pooling import pool_seconds
from pipeline.features.extract import encode_shard

T, RATE = 10, 48_000
DEMO = REPOSITORY / "pipeline" / "resources" / "demo_encoders"
CLIPS = ("ViT-B-32", "ViT-B-16", "ViT-L-14")


def demo_spec(encoder: str, backend: str, model: str, weights: str) -> EncoderOptions:
    """Return one of the demo's small encoders."""
    return encoder_options(
        encoder, backend=backend, model=str(DEMO / model), weights=str(DEMO / weights)
    )


def random_clip(model: str) -> EncoderOptions:
    """Return one of OpenAI's models with random weights."""
    return encoder_options("clip", backend="open_clip", model=model, weights="random")


SPECS = {
    "demo-clip": (demo_spec("clip", "open_clip", "clip.json", "clip.safetensors"), 64),
    "demo-clap": (demo_spec("clap", "transformers", "clap", "clap/model.safetensors"), 32),
    **{name: (random_clip(f"{name}-quickgelu"), 10) for name in CLIPS},
    "HTSAT-tiny": (
        encoder_options("clap", backend="laion_clap", model="HTSAT-tiny", weights="random"),
        10,
    ),
    "R(2+1)D-18": (
        encoder_options("motion", backend="torchvision", model="r2plus1d_18", weights="random"),
        10,
    ),
}


def bare_frames(encoder, segments: np.ndarray) -> Callable[[], object]:
    """Return a loop of a tower of images or clips over pixels that are there already."""
    device = encoder.runner.device
    frames = torch.from_numpy(segments).flatten(0, 1)
    videos = max(1, encoder.runner.batch_size // T)
    batches = [encoder.transform(part.to(device)) for part in frames.split(videos * T)]
    model = encoder._model
    encode = model if encoder.spec.encoder == "motion" else model.encode_images
    return lambda: [encode(batch).cpu() for batch in batches]


def bare_clap(encoder, segments: np.ndarray) -> Callable[[], object]:
    """Return a loop of CLAP's audio tower over spectrograms of seconds and of windows."""
    device = encoder.runner.device
    audio = torch.from_numpy(segments)
    videos = max(1, encoder.runner.batch_size // T)
    seconds = [encoder._mel.seconds(p.to(device)) for p in audio.view(-1, RATE).split(videos * T)]
    windows = [encoder._mel.windows(part.to(device)) for part in audio.split(videos)]

    def loop() -> object:
        embeddings = [encoder._embedding(batch).cpu() for batch in seconds]
        return embeddings, [pool_seconds(encoder._model.map_audio(b)).cpu() for b in windows]

    return loop


def segments_of(encoder, videos: int) -> np.ndarray:
    """Return random segments ``[n, T, K, H, W, 3]`` or ``[n, T * 48000]``."""
    random = np.random.default_rng(0)
    if encoder.source == "frames":
        is_motion = encoder.spec.encoder == "motion"
        frames, side = (8, 112) if is_motion else (1, encoder._model.image_size)
        # Fields of colour, 16 by 16 a picture: noise would look the same to every encoder.
        fields = random.integers(0, 256, (videos, T, frames, 16, 16, 3), dtype=np.uint8)
        scale = -(-side // 16)
        return fields.repeat(scale, axis=3).repeat(scale, axis=4)[:, :, :, :side, :side]
    return random.integers(-20_000, 20_000, (videos, T * RATE), dtype=np.int16)


@contextmanager
def both_ways(
    encoder: Encoder, segments: np.ndarray
) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Give the stage, on a shard of these segments, and the bare loop, as calls."""
    make_bare = bare_frames if encoder.source == "frames" else bare_clap
    with torch.no_grad():
        loop = make_bare(encoder, segments)

    def bare() -> object:
        with torch.no_grad(), encoder.runner.arithmetic():
            return loop()

    with tempfile.TemporaryDirectory() as temporary:
        places = write_segments(encoder, segments, Path(temporary))
        yield lambda: encode_shard(encoder, *places), bare


def write_segments(encoder: Encoder, segments: np.ndarray, folder: Path) -> tuple[Path, ...]:
    """Write segments as a shard; return the paths that the stage reads and writes."""
    names = tuple(f"v{n:05d}_0_10" for n in range(len(segments)))
    meta = {"segments": str(T), "fingerprint": "0123456789"}
    write_shard(folder / "in.safetensors", Shard(names, {encoder.source: segments}, meta))
    write_status(folder / "in.tsv", [StatusRow(row, True, Status.OK) for row in names])
    return tuple(folder / file for file in ("in.safetensors", "in.tsv", "o.safetensors", "o.tsv"))


def measure(name: str, videos: int, repeats: int, device: str) -> None:
    """Print one encoder's line."""
    spec, batch_size = SPECS[name]
    encoder = load_encoder(spec.model_copy(update={"batch_size": batch_size}), device)
    with both_ways(encoder, segments_of(encoder, videos)) as (stage, bare):
        rounds = [[timed(stage, device), timed(bare, device)] for _ in range(repeats + 1)]
    seconds = np.array(rounds[1:])
    (stage_seconds, bare_seconds), ratio = np.median(seconds, axis=0), seconds[:, 1] / seconds[:, 0]
    rates = [videos * T / value for value in (stage_seconds, bare_seconds)]
    print(name, *(f"{rate:.1f}" for rate in rates), f"{np.median(ratio):.3f}", sep="\t", flush=True)


def timed(function: Callable[[], object], device: str) -> float:
    """Return a call's seconds of CPU time, or on a GPU of wall time until its results are here."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    function()
    return clock() - began


def main() -> None:
    """Print segments a second of the stage and of the bare loop, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", type=int, help="by default 200 for small models, 2 for large")
    parser.add_argument("names", nargs="*", default=list(SPECS))
    arguments = parser.parse_args()
    print("encoder", "stage segments/s", "bare segments/s", "stage over bare", sep="\t")
    for name in arguments.names:
        videos = arguments.videos or (200 if name.startswith("demo") else 2)
        measure(name, videos, arguments.repeats, arguments.device)


if __name__ == "__main__":
    main()
