"""What the parts share: their rows, the device, the encoders and a clock."""

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pipeline.core.devices import tf32
from pipeline.features.encoders.options import EncoderOptions, encoder_options

REHEARSAL = os.environ.get("REHEARSAL") == "1"
CORES = len(os.sched_getaffinity(0))
DEMO = Path(__file__).resolve().parents[2] / "pipeline" / "resources" / "demo_encoders"
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Side of the matrices of the measured peak.
SIDE = 256 if REHEARSAL else 8192


class Rows:
    """The rows of a part: written as they come, so that none is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, what: str, **columns: object) -> None:
        """Write a row and print it."""
        line = json.dumps({"what": what, **columns})
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Turn an error inside the block into a row, so that it costs only this measurement."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.add(what, error=f"{type(error).__name__}: {error}"[:300])
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def rows_of_part() -> Rows:
    """Return the rows of the part that is running."""
    return Rows(Path(sys.argv[1]))


@cache
def device() -> torch.device:
    """Return the GPU; in a rehearsal the CPU will do."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if REHEARSAL:
        return torch.device("cpu")
    sys.exit("no GPU is visible; --rehearse runs without one")


def wait() -> None:
    """Wait until the GPU has done what it was given."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], repeats: int = 3, warm: int = 1) -> float:
    """Return the median seconds of a call, the GPU's part included, after ``warm`` others."""
    if REHEARSAL:
        warm, repeats = 0, 1
    taken = []
    for _ in range(warm + repeats):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[warm:])


def peak_memory(reset: bool = False) -> float:
    """Return the most GiB that were allocated on the GPU since the last reset."""
    if device().type != "cuda":
        return 0.0
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated() / 2**30


def multiplied(precision: str) -> AbstractContextManager[None]:
    """Return a context in which fp32 matrix products are in TF32 if that is the precision."""
    return tf32(precision == "tf32")


@cache
def matmul_peak(precision: str) -> float:
    """Return the FLOP/s of a large matrix product of random numbers, the card's measured peak."""
    kind = TYPES.get(precision, torch.float32)
    one, other = (torch.randn(SIDE, SIDE, device=device(), dtype=kind) for _ in range(2))
    count = 2 if precision == "fp32" else 10

    def multiply() -> None:
        for _ in range(count):
            one @ other

    with multiplied(precision):
        return 2.0 * SIDE**3 * count / seconds_of(multiply)


def clip_spec(**changes: Any) -> EncoderOptions:
    """Return the image encoder with random weights of seed 0; in a rehearsal the demo's."""
    if REHEARSAL:
        files = {"model": DEMO / "clip.json", "weights": DEMO / "clip.safetensors"}
        values = {"backend": "open_clip", **{key: str(path) for key, path in files.items()}}
    else:
        values = {"backend": "open_clip", "model": "ViT-L-14-quickgelu", "weights": "random"}
    return encoder_options("clip", **{**values, **changes})


def clap_spec(folder: Path, **changes: Any) -> EncoderOptions:
    """Return the audio encoder, HTSAT-tiny of random weights; in a rehearsal the demo's.

    ``folder`` receives the configuration: that of laion's fused checkpoints.
    """
    values = {"backend": "transformers"}
    if REHEARSAL:
        values |= {"model": str(DEMO / "clap"), "weights": str(DEMO / "clap/model.safetensors")}
    else:
        write_clap_config(folder)
        values |= {"model": str(folder), "weights": "random"}
    return encoder_options("clap", **{**values, **changes})


def write_clap_config(folder: Path) -> None:
    """Write config.json of CLAP with HTSAT-tiny and fusion, whose sizes are the defaults."""
    from transformers import ClapConfig

    folder.mkdir(parents=True, exist_ok=True)
    audio = {"enable_fusion": True, "fusion_type": "aff_2d"}
    ClapConfig(audio_config=audio).save_pretrained(folder)
