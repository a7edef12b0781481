"""Batched execution of an encoder: precision, memory format, compilation, batch size."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.devices import naming_compiler, tf32
from pipeline.core.errors import PipelineError

logger = logging.getLogger(__name__)

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Memory formats by number of axes: images and clips.
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# Arguments of glibc's mallopt: the largest M_MMAP_THRESHOLD it accepts, and an M_TRIM_THRESHOLD
# above any batch.
KEEP_FREED = {-3: 32 * 2**20, -1: 2**31 - 1}
# Batch size search: first size, speed-up that justifies another doubling, and largest size.
FIRST_BATCH, GAIN, LARGEST_BATCH = 16, 1.05, 1024


@dataclass
class Runner:
    """Run a model batch by batch on one device, with smaller batches if memory runs out.

    Attributes
    ----------
    device
        Device of the model.
    precision
        ``fp32``; ``tf32``, whose matrix products on a GPU round their operands to 10 bits of
        mantissa; or ``bf16`` / ``fp16`` autocast. Of the model, not of its transform.
    batch_size
        Rows per batch; halved whenever GPU memory runs out.
    is_tuned
        Whether ``batch_size`` is final; otherwise `tune` finds it.
    channels_last
        Whether to store images, clips and convolution weights in channels-last format.
    compiled
        Whether to compile the segment tower with torch.
    """

    device: torch.device
    precision: str = "fp32"
    batch_size: int = 64
    is_tuned: bool = True
    channels_last: bool = False
    compiled: bool = False
    # Models are not safe to start from two threads, see `in_flight`.
    _starting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def in_flight(self) -> int:
        """Batches to encode at a time: on a GPU, one computes while another is copied back."""
        return 2 if self.device.type == "cuda" else 1

    def place(self, module: torch.nn.Module, tower: torch.nn.Module) -> None:
        """Move a model to the device and apply the options to its segment tower."""
        module.to(self.device)
        if self.channels_last:
            for parameter in tower.parameters():
                parameter.data = _channels_last(parameter.data)
        if self.compiled:
            tower.compile()
        if self.device.type == "cpu":
            _keep_freed_memory()

    def staged(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return a batch in pinned memory, which a GPU can copy while it computes."""
        if self.device.type != "cuda":
            return batch
        pinned: NDArray[Any] = torch.from_numpy(batch).pin_memory().numpy()
        return pinned

    def run(
        self,
        rows: torch.Tensor,
        transform: Callable[[torch.Tensor], torch.Tensor],
        encode: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return ``encode(transform(rows))`` of all rows, as fp32 on the CPU.

        Rows are moved to the device as they are (uint8, int16) and transformed there.
        """

        def embed(batch: torch.Tensor) -> torch.Tensor:
            inputs = transform(batch)
            inputs = _channels_last(inputs) if self.channels_last else inputs
            with naming_compiler(self.compiled), self.arithmetic():
                return encode(inputs).float()

        # Together: to copy each batch back would let the GPU wait for the next one.
        return self.prepare(rows, embed).cpu()

    def prepare(
        self, rows: torch.Tensor, transform: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Return ``transform(rows)`` of all rows, on the device."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(rows):
            batch = rows[start : start + self.batch_size]
            outputs = self._run_batch(batch, transform)
            if outputs is None:
                self._halve()
                continue
            done.append(outputs)
            start += len(batch)
        return torch.cat(done)

    def _run_batch(
        self, batch: torch.Tensor, transform: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor | None:
        """Return ``transform(batch)``; None if its memory ran out.

        The memory is free again only when the error is gone, which holds the tensors so far.
        """
        try:
            # Not inference_mode, which measured 48 times slower with CPU autocast.
            with self._starting, torch.no_grad():
                return transform(batch.to(self.device, non_blocking=True))
        except torch.cuda.OutOfMemoryError:
            return None

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute in this precision inside the block."""
        halved = self.precision in AUTOCAST
        autocast = torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=halved)
        with tf32(self.precision == "tf32"), autocast:
            yield

    def tune(
        self, embed: Callable[[NDArray[Any]], object], video: NDArray[Any], segments: int
    ) -> None:
        """Find the batch size: double it until memory runs out or speed stops improving.

        Parameters
        ----------
        embed
            Encodes videos ``[n, ...]`` with this runner.
        video
            One video, ``[1, ...]``, repeated to make batches.
        segments
            T, rows per video.
        """
        self.is_tuned = True
        size, fastest = FIRST_BATCH, 0.0
        while size <= LARGEST_BATCH:
            self.batch_size = size
            videos = np.repeat(video, max(1, size // segments), axis=0)
            embed(videos)  # warm-up: selects kernels and allocates memory
            clock = time.perf_counter()
            embed(videos)
            rate = len(videos) / (time.perf_counter() - clock)
            if self.batch_size < size:
                break
            if rate < GAIN * fastest:
                self.batch_size = size // 2
                break
            size, fastest = size * 2, rate
        logger.info("using batch size %d on %s", self.batch_size, self.device)

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise PipelineError(
                f"one segment does not fit into the memory of {self.device}; free some memory, or"
                " use another device or precision."
            )
        self.batch_size //= 2
        torch.cuda.empty_cache()
        logger.warning(
            "%s is out of memory: reduced batch size to %d", self.device, self.batch_size
        )


def _keep_freed_memory() -> None:
    """Keep the memory that a batch frees for the next one, if the C library is glibc.

    Memory returned to the system comes back page by page, which takes a tenth of a small model's
    run time (docs/explanation/measurements.md).
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option, value in KEEP_FREED.items():
            mallopt(option, value)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    memory_format = CHANNELS_LAST.get(tensor.dim())
    return tensor.contiguous(memory_format=memory_format) if memory_format else tensor
