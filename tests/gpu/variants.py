"""Ways to run ViT-L/14 in bfloat16, as bare loops over pixels on the card: what makes it faster.

Each way's error is that of its embeddings against fp32's. Those that compile come last.
"""

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from bench_encode import T, segments_of
from harness import REHEARSAL, Rows, clip_spec, device, peak_memory, rows_of_part, seconds_of, wait
from torch import Tensor, nn
from torch.nn import functional

from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.half import fold_quick_gelu

BATCH, VIDEOS = (20, 4) if REHEARSAL else (320, 96)
BACKEND = "eager" if REHEARSAL else "inductor"
HALF = torch.bfloat16

Change = Callable[[nn.Module], object]


def halve(tower: nn.Module) -> None:
    """Cast all weights once."""
    tower.to(HALF)


def keep_norms(tower: nn.Module) -> None:
    """Normalise in fp32, with gains and shifts in fp32."""
    for norm in tower.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.float()
            norm.forward = partial(wide_norm, norm)  # type: ignore[method-assign]


def wide_norm(norm: nn.LayerNorm, features: Tensor) -> Tensor:
    """Return features of the same type, normalised in fp32."""
    words = norm.normalized_shape, norm.weight, norm.bias, norm.eps
    return functional.layer_norm(features.float(), list(words[0]), *words[1:]).to(features.dtype)


# What is done to the tower; whether autocast remains; whether PyTorch's fused attention layers of
# evaluation may be used; whether it is compiled.
WAYS: dict[str, tuple[list[Change], bool, bool, bool]] = {
    "autocast": ([], True, True, False),
    "autocast, folded": ([fold_quick_gelu], True, True, False),
    "bf16 weights": ([halve], False, True, False),
    "bf16 weights, no fused layers": ([halve], False, False, False),
    "bf16 weights, fp32 norms": ([halve, keep_norms], False, True, False),
    "bf16 weights, folded": ([fold_quick_gelu, halve], False, True, False),
    "bf16 weights, folded, no fused layers": ([fold_quick_gelu, halve], False, False, False),
    "bf16 weights, folded, fp32 norms": ([fold_quick_gelu, halve, keep_norms], False, True, False),
    "bf16 weights, compiled": ([halve], False, False, True),
    "autocast, compiled": ([], True, False, True),
}


def main() -> None:
    """Write a row for every way."""
    rows = rows_of_part()
    encoder: Any = load_encoder(clip_spec(), str(device()))
    frames = torch.from_numpy(segments_of(encoder, VIDEOS)).flatten(0, 1)
    batches = [encoder.transform(part.to(device())) for part in frames.split(BATCH)]
    tower = encoder._model.tower
    with torch.no_grad():
        expected = unit(tower(batches[0][:64]))
        for name in WAYS:
            with rows.attempt(name):
                measure(rows, name, tower, batches, expected)


def measure(
    rows: Rows, name: str, tower: nn.Module, batches: list[Tensor], expected: Tensor
) -> None:
    """Write the row of one way."""
    changes, autocasts, fused, compiled = WAYS[name]
    changed: Any = copy.deepcopy(tower)
    for change in changes:
        change(changed)
    if compiled:
        changed.compile(backend=BACKEND, dynamic=False)
    torch.backends.mha.set_fastpath_enabled(fused)
    kind = torch.float32 if autocasts else HALF

    def encode(batch: Tensor) -> Tensor:
        with torch.autocast(device().type, HALF) if autocasts else nullcontext():
            result: Tensor = changed(batch.to(kind))
        return result

    try:
        peak_memory(reset=True)
        wait()
        began = time.perf_counter()
        found = unit(encode(batches[0]))[: len(expected)]
        first = time.perf_counter() - began
        seconds = seconds_of(lambda: [encode(batch) for batch in batches], repeats=2, warm=0)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    apart = float(1 - (found * expected).sum(dim=-1).min())
    rate = VIDEOS * T / seconds
    figures = {"bare segments/s": rate, "1 - least cosine": apart, "first batch s": first}
    rows.add(f"clip, {name}", **figures, **{"GiB at most": peak_memory()})


def unit(embeddings: Tensor) -> Tensor:
    """Return rows of length 1, in float64, once they are there."""
    return functional.normalize(embeddings.double(), dim=-1)


if __name__ == "__main__":
    main()
