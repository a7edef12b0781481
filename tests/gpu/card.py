"""What the card can do: matrix products, copies on it and to it."""

from functools import partial

import torch
from harness import PRECISIONS, REHEARSAL, device, matmul_peak, rows_of_part, seconds_of

GIB = 2**30
# Bytes that are copied: far more than any cache holds.
SIZE = GIB // 64 if REHEARSAL else 2 * GIB


def main() -> None:
    """Write a row a ceiling."""
    rows = rows_of_part()
    if device().type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory / GIB
        rows.add(properties.name, value=memory, unit="GiB of memory")
    for precision in PRECISIONS:
        if device().type == "cpu" and precision == "fp16":
            continue
        with rows.attempt(f"matrix products, {precision}"):
            peak = matmul_peak(precision) / 1e12
            rows.add(f"matrix products, {precision}", value=peak, unit="TFLOP/s")
    with rows.attempt("copies"):
        here = torch.randint(0, 255, (SIZE,), dtype=torch.uint8, device=device())
        there = torch.empty_like(here)
        moved = 2 * SIZE / seconds_of(lambda: there.copy_(here)) / 1e9
        rows.add("copy on the card, read and written", value=moved, unit="GB/s")
        for kind, host in hosts().items():
            to_card = SIZE / seconds_of(partial(here.copy_, host)) / 1e9
            back = SIZE / seconds_of(partial(host.copy_, here)) / 1e9
            rows.add(f"copy to the card, {kind} memory", value=to_card, unit="GB/s")
            rows.add(f"copy from the card, {kind} memory", value=back, unit="GB/s")


def hosts() -> dict[str, torch.Tensor]:
    """Return memory of the host by its kind."""
    plain = torch.ones(SIZE, dtype=torch.uint8)
    return {"plain": plain} | ({"pinned": plain.pin_memory()} if device().type == "cuda" else {})


if __name__ == "__main__":
    main()
