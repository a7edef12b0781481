"""What every encoder offers, how it is loaded, and how it proves itself."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.core.devices import choose_device
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders.options import EncoderOptions
from pipeline.features.encoders.runner import Runner

# On a CPU larger batches gain little and take memory (docs/explanation/measurements.md).
CPU_BATCH = 32
# Two captions whose unit embeddings are nearer than this are taken for the same input: a lost
# vocabulary gives 0, while even the weakest random text tower leaves 1e-3.
NEAREST_CAPTIONS = 1e-4


class Encoder(Protocol):
    """A frozen encoder of segments.

    Attributes
    ----------
    spec
        What decides its numbers.
    runner
        Where and in what batches it runs.
    source
        The array of a segments shard that it reads.
    dimensions
        The arrays it makes, ``[N, T, dimension]`` each; the first is ``embedding``.
    notes
        What else a shard's meta should say.
    """

    spec: EncoderOptions
    runner: Runner
    source: str
    dimensions: Mapping[str, int]
    notes: Mapping[str, str]

    def embed(self, segments: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Return the arrays named in ``dimensions`` for segments ``[n, T, ...]``."""
        ...


@runtime_checkable
class CaptionEncoder(Encoder, Protocol):
    """A frozen encoder of segments and captions into one space; its embeddings have length 1.

    Attributes
    ----------
    logit_scale
        The factor on cosines that the encoder was trained with (already exponentiated).
    """

    logit_scale: float

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """Return token ids, int64 ``[C, L]``."""
        ...

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised text embeddings ``[C, D]``."""
        ...


def load_encoder(spec: EncoderOptions, device: str = "auto") -> Encoder:
    """Load an encoder, and check it on LLP's captions before anything is encoded.

    Parameters
    ----------
    spec
        Which encoder, and how it runs. Batch size ``auto`` is ``CPU_BATCH`` on a CPU, and found by
        trying on a GPU (`Runner.tune`).
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Raises
    ------
    PipelineError
        Model, weights, tokenizer or device are not what they must be.
    """
    chosen = choose_device(device)
    # fp32 means fp32: TF32 rounds convolutions to 10 bits unless it is told not to.
    torch.backends.cudnn.allow_tf32 = False
    is_automatic = spec.batch_size == "auto"
    runner = Runner(
        chosen,
        spec.precision,
        CPU_BATCH if spec.batch_size == "auto" else spec.batch_size,
        is_tuned=not is_automatic or chosen.type == "cpu",
        channels_last=spec.channels_last,
        compiled=spec.compiled,
    )
    encoder: Encoder = import_module(f"pipeline.features.encoders.{spec.encoder}").load(
        spec, runner
    )
    if isinstance(encoder, CaptionEncoder):
        prove_captions(encoder, read_vocabulary().captions(spec.modality))
    return encoder


def with_captions(encoder: Encoder) -> CaptionEncoder:
    """Return an encoder that reads captions too.

    Raises
    ------
    PipelineError
        It does not.
    """
    if not isinstance(encoder, CaptionEncoder):
        raise PipelineError(f"{encoder.spec.encoder} reads no captions; give clip or clap.")
    return encoder


def prove_captions(encoder: CaptionEncoder, captions: Sequence[str]) -> NDArray[np.float32]:
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
