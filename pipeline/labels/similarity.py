"""Similarity logits: segments against class captions.

The logit of a segment and a class is ``exp(logit_scale) * cosine(segment, caption)``.
Source: VALOR (Lai et al., NeurIPS 2023).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import PROMPTS_FILE, Shard, read_array, read_shard
from pipeline.core.vocabulary import Vocabulary


def similarity_logits(
    embeddings: NDArray[Any], texts: NDArray[Any], logit_scale: float
) -> NDArray[Any]:
    """Return the logits ``[..., C]`` of segments and captions.

    Parameters
    ----------
    embeddings : ``[..., D]``
        L2-normalised segment embeddings.
    texts : ``[C, D]``
        L2-normalised caption embeddings of the same encoder.
    logit_scale
        The encoder's factor on cosines, already exponentiated.
    """
    logits: NDArray[Any] = embeddings @ (logit_scale * texts.T)
    return logits


def normalise(array: NDArray[Any]) -> NDArray[Any]:
    """Return rows of length 1; a row of zeros stays as it is."""
    unit: NDArray[Any] = array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
    return unit


def read_logits(encoder: str, folder: Path, vocabulary: Vocabulary) -> Shard:
    """Compare an encoder's cached segments with its captions.

    Parameters
    ----------
    encoder
        ``clip`` or ``clap``, which the features must belong to.
    folder
        Has ``K-of-N.safetensors`` with ``embedding [N, T, D]`` and ``prompts.safetensors`` with
        ``text [C, D]``, both L2-normalised, and ``logit_scale`` (exponentiated) in its header.
    vocabulary
        The classes, which must be those of the prompts.

    Returns
    -------
    Shard
        ``logits [N, T, C]`` float32, in ``[-logit_scale, logit_scale]``; the shards' meta.

    Raises
    ------
    PipelineError
        A file is missing, the shards differ in how they were made or hold no video, they belong to
        another encoder, or the prompts to other classes or features.
    """
    prompts = read_shard(folder / PROMPTS_FILE)
    if prompts.names != vocabulary.names:
        raise PipelineError(
            f"the prompts in '{folder}' are of {len(prompts.names)} classes that differ from the "
            f"vocabulary's {len(vocabulary)}; run the prompts stage with this vocabulary."
        )
    joined = read_array(folder, "embedding")
    if joined.meta["encoder"] != encoder:
        raise PipelineError(
            f"'{folder}' has features of {joined.meta['encoder']}; give a folder of {encoder}'s."
        )
    if joined.meta["fingerprint"] != prompts.meta["fingerprint"]:
        raise PipelineError(
            f"in '{folder}' the features ({joined.meta['fingerprint']}) and the prompts "
            f"({prompts.meta['fingerprint']}) were made differently; run the prompts stage again."
        )
    if not joined.names:
        raise PipelineError(f"no shard in '{folder}' holds a video; see its status tables.")
    scale = float(prompts.meta["logit_scale"])
    logits = similarity_logits(joined["embedding"], prompts["text"], scale)
    return Shard(joined.names, {"logits": logits}, joined.meta)
