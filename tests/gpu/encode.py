"""Segments a second of both encoders, at several batch sizes and precisions.

The stage (a shard read, transformed, encoded and written) beside a bare loop of the model over
tensors that are on the card already, and the bare loop's share of the measured peak.
"""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from bench_encode import RATE, T, both_ways, segments_of
from harness import (
    REHEARSAL,
    Rows,
    clap_spec,
    clip_spec,
    device,
    matmul_peak,
    peak_memory,
    rows_of_part,
    seconds_of,
)
from torch.utils.flop_counter import FlopCounterMode

from pipeline.features.encoders.base import Encoder, load_encoder
from pipeline.features.encoders.options import EncoderOptions


@dataclass(frozen=True)
class Case:
    """A precision, a batch size and how many videos are encoded with them."""

    precision: str
    batch_size: int
    videos: int


# fp32 on tensor-less units is an order of magnitude slower, so that fewer videos are as certain.
CASES = (
    Case("bf16", 80, 128),
    Case("bf16", 320, 128),
    Case("bf16", 1280, 256),
    Case("fp16", 320, 128),
    Case("tf32", 320, 64),
    Case("fp32", 320, 32),
)
SMALL_CASES = (Case("bf16", 20, 2), Case("fp32", 10, 2))


def main() -> None:
    """Write a row for every encoder and case."""
    rows = rows_of_part()
    with tempfile.TemporaryDirectory() as folder:
        for spec in (clip_spec(), clap_spec(Path(folder) / "clap")):
            with rows.attempt(spec.encoder):
                measure(rows, spec)


def measure(rows: Rows, spec: EncoderOptions) -> None:
    """Write an encoder's rows; it is loaded once for each precision."""

    @cache
    def loaded(precision: str) -> Encoder:
        return load_encoder(spec.model_copy(update={"precision": precision}), str(device()))

    flops = flops_of_segment(loaded("fp32"))
    for case in SMALL_CASES if REHEARSAL else CASES:
        name = f"{spec.encoder} {case.precision}, batches of {case.batch_size}"
        with rows.attempt(name):
            rows.add(name, **figures(loaded(case.precision), case, flops))


def figures(encoder: Encoder, case: Case, flops: float) -> dict[str, float]:
    """Return rates, their ratio, the share of the peak and the memory of one case."""
    encoder.runner.batch_size = case.batch_size
    segments = segments_of(encoder, case.videos)
    with both_ways(encoder, segments) as (stage, bare):
        peak_memory(reset=True)
        bare_seconds = seconds_of(bare, repeats=2)
        stage_seconds = seconds_of(stage, repeats=2)
        memory = peak_memory()
    if encoder.runner.batch_size != case.batch_size:
        raise RuntimeError(f"batches of {case.batch_size} do not fit into the card's memory")
    rate, bare_rate = (case.videos * T / value for value in (stage_seconds, bare_seconds))
    return {
        "segments/s": rate,
        "bare segments/s": bare_rate,
        "stage over bare": rate / bare_rate,
        "bare TFLOP/s": bare_rate * flops / 1e12,
        "share of peak": bare_rate * flops / matmul_peak(case.precision),
        "GiB at most": memory,
    }


def flops_of_segment(encoder: Any) -> float:
    """Return the floating-point operations of one segment, counted over a video of them."""
    segments = torch.from_numpy(segments_of(encoder, 1)).to(encoder.runner.device)
    # The counter does not know PyTorch's fused attention of evaluation mode.
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if encoder.source == "frames":
            encoder._model.encode_images(encoder.transform(segments.flatten(0, 1)))
        else:
            encoder._embedding(encoder._mel.seconds(segments.view(-1, RATE)))
            encoder._model.map_audio(encoder._mel.windows(segments))
    torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops()) / T


if __name__ == "__main__":
    main()
