"""The encoder interface, loading, and the caption check."""

import logging
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

# Larger batches gain little on a CPU and take memory (docs/explanation/measurements.md).
CPU_BATCH = 32
# Captions whose unit embeddings are closer than this are treated as identical: a lost vocabulary
# gives 0, while even randomly initialised text towers give at least 1e-3.
NEAREST_CAPTIONS = 1e-4
# Characters of a caption that a message repeats.
LONGEST_CAPTION = 80

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """A frozen encoder of segments.

    Attributes
    ----------
    spec
        Everything that determines the features.
    runner
        Device, precision and batch size.
    source
        Array of a segments shard that it encodes.
    dimensions
        Name to D of its output arrays, ``[N, T, D]`` each; the first is ``embedding``.
    notes
        Further entries for the meta of its shards.
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
    """A frozen encoder of segments and captions in one space, with unit-length embeddings.

    Attributes
    ----------
    logit_scale
        Factor on cosines from training, exponentiated.
    context_length
        Largest number of tokens that the text tower reads of a caption.
    """

    logit_scale: float
    context_length: int

    def token_counts(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has, before it is cut."""
        ...

    def tokenize(self, captions: Sequence[str]) -> torch.Tensor:
        """Return token ids, int64 ``[C, L]``."""
        ...

    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised text embeddings ``[C, D]``."""
        ...


def load_encoder(spec: EncoderOptions, device: str = "auto") -> Encoder:
    """Load an encoder; caption encoders are first checked on LLP's captions.

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
        The model, weights, tokenizer or device is invalid.
    """
    chosen = choose_device(device)
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
    """Return ``encoder`` if it can encode captions.

    Raises
    ------
    PipelineError
        It cannot.
    """
    if not isinstance(encoder, CaptionEncoder):
        raise PipelineError(f"{encoder.spec.encoder} cannot encode captions; use clip or clap.")
    return encoder


def prove_captions(
    encoder: CaptionEncoder, captions: Sequence[str], classes: Sequence[str] = ()
) -> NDArray[np.float32]:
    """Encode captions and check that they give distinct tokens and distinct embeddings.

    Captions that the text tower cannot read to their end are logged.

    Parameters
    ----------
    encoder
        CLIP or CLAP.
    captions
        The C captions.
    classes
        Their classes, for messages.

    Returns
    -------
    L2-normalised embeddings, ``[C, D]``.

    Raises
    ------
    PipelineError
        Two captions have the same tokens or embedding, or an embedding is not finite or differs in
        size from those of segments.
    """
    described = [f"'{_shortened(caption)}'" for caption in captions]
    if classes:
        pairs = zip(described, classes, strict=True)
        described = [f"{caption} (class {name})" for caption, name in pairs]
    limit, counts = encoder.context_length, encoder.token_counts(captions)
    for caption, count in zip(described, counts, strict=True):
        if count > limit:
            logger.warning(
                "the caption %s has %d tokens, but %s reads only %d; its end is ignored, so shorten"
                " it",
                *(caption, count, encoder.spec.encoder, limit),
            )
    tokens = encoder.tokenize(captions)
    seen: dict[tuple[int, ...], int] = {}
    for index, row in enumerate(tokens.tolist()):
        if (other := seen.setdefault(tuple(row), index)) != index:
            cut = f", of which the first {limit} count" if counts[index] > limit else ""
            raise PipelineError(
                f"the {encoder.spec.encoder} tokenizer gives {described[index]} and"
                f" {described[other]} the same tokens{cut}; correct the captions or the tokenizer's"
                " files."
            )
    embeddings = encoder.embed_captions(captions)
    size = encoder.dimensions["embedding"]
    if embeddings.shape != (len(captions), size) or not np.isfinite(embeddings).all():
        raise PipelineError(
            f"the {encoder.spec.encoder} text tower returned embeddings {embeddings.shape}, which"
            f" must be finite and [{len(captions)}, {size}]; check the weights."
        )
    text = torch.from_numpy(embeddings)
    apart = torch.cdist(text, text).fill_diagonal_(np.inf)
    if len(captions) > 1 and float(apart.min()) < NEAREST_CAPTIONS:
        first, second = divmod(int(apart.argmin()), len(captions))
        raise PipelineError(
            f"{encoder.spec.encoder} gives {described[first]} and {described[second]} the same"
            " embedding; check the weights and the tokenizer's files."
        )
    return embeddings


def _shortened(caption: str) -> str:
    """Return a caption for a message; both ends stay, since long ones often differ there."""
    if len(caption) <= LONGEST_CAPTION:
        return caption
    return f"{caption[: LONGEST_CAPTION - 20]}...{caption[-20:]}"


def normalised(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the rows scaled to length 1, as fp32."""
    return functional.normalize(embeddings.float(), dim=-1)
