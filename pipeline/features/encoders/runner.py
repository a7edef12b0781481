"""How an encoder's batches run on a device: precision, memory format, compilation, batch size."""

import ctypes
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError

logger = logging.getLogger(__name__)

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Tensors of images and of clips have such a format; others have none.
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# glibc's mallopt: M_MMAP_THRESHOLD at the most that it takes, M_TRIM_THRESHOLD above any batch.
KEEP_FREED = {-3: 32 * 2**20, -1: 2**31 - 1}
# The search for a batch size begins here, goes on while a doubling makes it this much faster, and
# ends here.
FIRST_BATCH, GAIN, LARGEST_BATCH = 16, 1.05, 1024


@dataclass
class Runner:
    """Runs a model batch by batch on one device, with smaller batches where memory is short.

    Attributes
    ----------
    device
        Where the model is.
    precision
        ``fp32``, or ``bf16`` / ``fp16`` autocast of the model (never of its transform).
    batch_size
        Rows at a time; halved whenever the GPU's memory does not suffice.
    is_tuned
        Whether the batch size is what it shall be; `tune` finds it otherwise.
    channels_last
        Whether images and clips, and the weights of convolutions, lie channel by channel.
    compiled
        Whether torch compiles the tower of the segments.
    """

    device: torch.device
    precision: str = "fp32"
    batch_size: int = 64
    is_tuned: bool = True
    channels_last: bool = False
    compiled: bool = False

    def place(self, module: torch.nn.Module, tower: torch.nn.Module) -> None:
        """Move a model to the device, and apply the options to its tower of the segments."""
        module.to(self.device)
        if self.channels_last:
            for parameter in tower.parameters():
                parameter.data = _channels_last(parameter.data)
        if self.compiled:
            tower.compile()
        if self.device.type == "cpu":
            _keep_freed_memory()

    def staged(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return a batch in memory that a GPU copies from while it computes; meant for a reader."""
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
        """Return ``encode(transform(rows))`` of all rows, fp32 on the CPU.

        Rows go to the device as they are (uint8, int16) and are transformed there.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(rows):
            batch = rows[start : start + self.batch_size]
            try:
                # Not inference_mode: with CPU autocast it was measured 48 times slower.
                with torch.no_grad():
                    inputs = transform(batch.to(self.device, non_blocking=True))
                    inputs = _channels_last(inputs) if self.channels_last else inputs
                    with self._autocast():
                        done.append(encode(inputs).float().cpu())
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            start += len(batch)
        return torch.cat(done)

    def tune(
        self, embed: Callable[[NDArray[Any]], object], video: NDArray[Any], segments: int
    ) -> None:
        """Find the batch size: doubled until memory is short or it is no faster.

        Parameters
        ----------
        embed
            Runs videos ``[n, ...]`` through this runner.
        video
            One video, ``[1, ...]``, of which batches are made.
        segments
            T, rows of a video.
        """
        self.is_tuned = True
        size, fastest = FIRST_BATCH, 0.0
        while size <= LARGEST_BATCH:
            self.batch_size = size
            videos = np.repeat(video, max(1, size // segments), axis=0)
            embed(videos)  # kernels are chosen and memory is taken the first time
            clock = time.perf_counter()
            embed(videos)
            rate = len(videos) / (time.perf_counter() - clock)
            if self.batch_size < size:
                break
            if rate < GAIN * fastest:
                self.batch_size = size // 2
                break
            size, fastest = size * 2, rate
        logger.info("batch size %d found on %s", self.batch_size, self.device)

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, AUTOCAST[self.precision])

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise PipelineError(
                f"one segment does not fit into the memory of {self.device}; free it, or use"
                " another device or precision."
            )
        self.batch_size //= 2
        torch.cuda.empty_cache()
        logger.warning("%s is short of memory: batch size %d", self.device, self.batch_size)


def _keep_freed_memory() -> None:
    """Keep what a batch frees for the next one, where the C library is glibc.

    Memory given back to the system comes again a page at a time, which is a tenth of a small
    model's time (docs/explanation/measurements.md).
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option, value in KEEP_FREED.items():
            mallopt(option, value)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    memory_format = CHANNELS_LAST.get(tensor.dim())
    return tensor.contiguous(memory_format=memory_format) if memory_format else tensor
