"""What every encoder offers, how its batches run on a device, and how it proves itself."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import PipelineError
from pipeline.vocabulary import read_vocabulary

logger = logging.getLogger(__name__)

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Two captions whose unit embeddings are nearer than this are taken for the same input: a lost
# vocabulary gives 0, while even the weakest random text tower leaves 1e-3.
NEAREST_CAPTIONS = 1e-4


class Encoder(Protocol):
    """A frozen encoder of segments and captions into one space.

    Attributes
    ----------
    spec
        What decides its numbers.
    source
        The array of a segments shard that it reads.
    dimensions
        The arrays it makes, ``[N, T, dimension]`` each.
    logit_scale
        The factor on cosines that the encoder was trained with (already exponentiated).
    notes
        What else a shard's meta should say.
    batch_size
        Segments at a time.
    """

    spec: EncoderSpec
    source: str
    dimensions: Mapping[str, int]
    logit_scale: float
    notes: Mapping[str, str]

    @property
    def batch_size(self) -> int:
        """Segments at a time."""
        ...

    def embed(self, segments: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Return the arrays named in ``dimensions`` for segments ``[n, T, ...]``."""
        ...

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """Return token ids, int64 ``[C, L]``."""
        ...

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised text embeddings ``[C, D]``."""
        ...


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
    """

    device: torch.device
    precision: str
    batch_size: int

    def run(
        self,
        rows: torch.Tensor,
        transform: Callable[[torch.Tensor], torch.Tensor],
        encode: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return ``encode(transform(rows))`` of all rows, fp32 on the CPU."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(rows):
            batch = rows[start : start + self.batch_size]
            try:
                # Not inference_mode: with CPU autocast it was measured 48 times slower.
                with torch.no_grad():
                    inputs = transform(batch.to(self.device))
                    with self._autocast():
                        done.append(encode(inputs).float().cpu())
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            start += len(batch)
        return torch.cat(done)

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


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises
    ------
    PipelineError
        The name is none of these, or no such GPU is there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise PipelineError(f"device is '{name}'; allowed are auto, cpu, cuda and cuda:INDEX.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"device is '{name}', but {torch.cuda.device_count()} GPUs are visible; use auto or"
            " cpu."
        )
    return torch.device(name)


def load_encoder(spec: EncoderSpec, device: str = "auto", batch_size: int = 64) -> Encoder:
    """Load an encoder, and let it prove itself on LLP's captions before anything is encoded.

    Parameters
    ----------
    spec
        Which encoder.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.
    batch_size
        Segments at a time.

    Raises
    ------
    PipelineError
        Model, weights, tokenizer or device are not what they must be.
    """
    chosen = choose_device(device)
    # fp32 means fp32: TF32 rounds convolutions to 10 bits unless it is told not to.
    torch.backends.cudnn.allow_tf32 = False
    runner = Runner(chosen, spec.precision, batch_size)
    encoder: Encoder = import_module(f"pipeline.encoders.{spec.encoder}").load(spec, runner)
    prove_captions(encoder, read_vocabulary().captions(spec.modality))
    return encoder


def prove_captions(encoder: Encoder, captions: Sequence[str]) -> NDArray[np.float32]:
    """Embed captions and see that C of them give C different token rows and embeddings.

    Returns
    -------
    L2-normalised embeddings, ``[C, D]``.

    Raises
    ------
    PipelineError
        Two captions cannot be told apart, or an embedding is not finite or has another size
        than the segments'.
    """
    tokens = encoder.tokenize(captions)
    seen: dict[tuple[int, ...], str] = {}
    for caption, row in zip(captions, tokens.tolist(), strict=True):
        if (other := seen.setdefault(tuple(row), caption)) is not caption:
            raise PipelineError(
                f"the {encoder.spec.encoder} tokenizer reads '{caption}' and '{other}' as the same"
                " tokens; correct the captions or the tokenizer's files."
            )
    embeddings = encoder.embed_captions(captions)
    size = encoder.dimensions["embedding"]
    if embeddings.shape != (len(captions), size) or not np.isfinite(embeddings).all():
        raise PipelineError(
            f"the {encoder.spec.encoder} text tower gave embeddings {embeddings.shape} that are not"
            f" finite or not [{len(captions)}, {size}]; check the weights."
        )
    text = torch.from_numpy(embeddings)
    apart = torch.cdist(text, text).fill_diagonal_(np.inf)
    if len(captions) > 1 and float(apart.min()) < NEAREST_CAPTIONS:
        first, second = divmod(int(apart.argmin()), len(captions))
        raise PipelineError(
            f"{encoder.spec.encoder} gives '{captions[first]}' and '{captions[second]}' the same"
            " embedding; check the weights and the tokenizer's files."
        )
    return embeddings


def normalised(embeddings: torch.Tensor) -> torch.Tensor:
    """Return fp32 rows of length 1."""
    return functional.normalize(embeddings.float(), dim=-1)
