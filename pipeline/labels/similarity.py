"""Similarity logits of segments and class captions.

The logit of a segment and a class is ``exp(logit_scale) * cosine(segment, caption)``.
Source: VALOR (Lai et al., NeurIPS 2023).
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.shards import (
    PROMPTS_FILE,
    Shard,
    ShardReader,
    read_array,
    read_shard,
    shard_paths,
)
from pipeline.core.vocabulary import Vocabulary
from pipeline.features.import_options import similarity_array


def similarity_logits(
    embeddings: NDArray[Any], texts: NDArray[Any], logit_scale: float
) -> NDArray[Any]:
    """Return the logits ``[..., C]`` of segments against captions.

    Parameters
    ----------
    embeddings : ``[..., D]``
        L2-normalised segment embeddings.
    texts : ``[C, D]``
        L2-normalised caption embeddings of the same encoder.
    logit_scale
        The encoder's factor on cosines, exponentiated.
    """
    logits: NDArray[Any] = embeddings @ (logit_scale * texts.T)
    return logits


def read_logits(encoder: str, folder: Path, vocabulary: Vocabulary) -> Shard:
    """Compute the similarity logits of an encoder's cached features.

    Parameters
    ----------
    encoder
        ``clip`` or ``clap``; the features must be from this encoder.
    folder
        Folder with ``K-of-N.safetensors``, which have ``embedding [N, T, D]`` (imported features
        may have ``label_embedding`` for this instead), and ``prompts.safetensors``, which has
        ``text [C, D]`` and ``logit_scale`` (exponentiated, in its header); both arrays are
        L2-normalised.
    vocabulary
        The classes; the prompts must have the same.

    Returns
    -------
    Shard
        ``logits [N, T, C]`` float32, in ``[-logit_scale, logit_scale]``, with the shards' meta.

    Raises
    ------
    PipelineError
        A file is missing, the shards have different settings or no videos, or the features and
        prompts do not match each other, the encoder or the vocabulary.
    """
    prompts = read_shard(folder / PROMPTS_FILE)
    if prompts.names != vocabulary.names:
        raise PipelineError(
            f"the prompts in '{folder}' have other classes ({len(prompts.names)}) than the"
            f" vocabulary ({len(vocabulary)}); run the prompts stage with this vocabulary."
        )
    with ShardReader(shard_paths(folder)[0]) as reader:
        key = similarity_array(reader.keys)
    joined = read_array(folder, key)
    if joined.meta["encoder"] != encoder:
        raise PipelineError(
            f"'{folder}' has {joined.meta['encoder']} features; give a folder of {encoder}"
            " features."
        )
    if joined.meta["fingerprint"] != prompts.meta["fingerprint"]:
        raise PipelineError(
            f"in '{folder}' the features ({joined.meta['fingerprint']}) and the prompts "
            f"({prompts.meta['fingerprint']}) have different fingerprints; run the prompts stage"
            " again."
        )
    if not joined.names:
        raise PipelineError(f"the shards in '{folder}' have no videos; check their status tables.")
    scale = float(prompts.meta["logit_scale"])
    logits = similarity_logits(joined[key], prompts["text"], scale)
    return Shard(joined.names, {"logits": logits}, joined.meta)
