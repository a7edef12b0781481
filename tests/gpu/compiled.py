"""What torch.compile gains on the card, and what compiling costs; features stay what they were."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"

import numpy as np
from bench_encode import T, segments_of
from harness import REHEARSAL, Rows, clap_spec, clip_spec, device, rows_of_part, seconds_of
from llp_size import TRAIN, first_of, llp_data, options
from train import EPOCHS, FEW, METHODS, epochs_of_trainer

from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.options import EncoderOptions
from pipeline.parsers.registry import recipe_for

# Compiling for a CPU takes a minute; a rehearsal traces, and compiles nothing.
BACKEND = "eager" if REHEARSAL else "inductor"
BATCH, VIDEOS = (20, 2) if REHEARSAL else (320, 128)


def main() -> None:
    """Write a row for each encoder and each method."""
    rows = rows_of_part()
    with rows.attempt("clip, bf16"):
        encoder(rows, clip_spec(precision="bf16", batch_size=BATCH))
    if REHEARSAL:
        return
    for method in METHODS:
        with rows.attempt(f"{method}, fp32"):
            training(rows, method)
    with rows.attempt("clap, bf16"), tempfile.TemporaryDirectory() as folder:
        encoder(rows, clap_spec(Path(folder), precision="bf16", batch_size=BATCH))


def encoder(rows: Rows, spec: EncoderOptions) -> None:
    """Write an encoder's row: segments a second of its calls, plain and compiled."""
    loaded: Any = load_encoder(spec, str(device()))
    segments = segments_of(loaded, VIDEOS)
    plain_seconds = seconds_of(lambda: loaded.embed(segments))
    expected = loaded.embed(segments)["embedding"]
    began = time.perf_counter()
    loaded._model.tower.compile(backend=BACKEND)
    found = loaded.embed(segments)["embedding"]
    compiling = time.perf_counter() - began
    seconds = seconds_of(lambda: loaded.embed(segments), warm=0)
    lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    cosine = (expected * found).sum(axis=-1) / lengths
    rates = {"plain": VIDEOS * T / plain_seconds, "compiled": VIDEOS * T / seconds}
    more = {"compiling s": compiling, "1 - least cosine": float(1 - cosine.min())}
    rows.add(f"{spec.encoder}, bf16, segments/s", **rates, **more)


def training(rows: Rows, method: str) -> None:
    """Write a method's row: seconds of an epoch of the trainer, compiled, from short ones."""
    recipe = recipe_for(method, options(epochs=EPOCHS, warmup_epochs=1, compiled=True))
    few = first_of(llp_data(recipe), FEW)
    first, seconds, loss = epochs_of_trainer(method, recipe, few)
    seconds *= TRAIN / len(few.train.inputs)
    more = {"first short epoch s": first, "loss": loss}
    rows.add(f"{method}, fp32, epoch s", compiled=seconds, **more)


if __name__ == "__main__":
    main()
