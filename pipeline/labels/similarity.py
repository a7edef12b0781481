"""Similarity logits: CLIP and CLAP segments against the class captions."""

from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.shards import (
    PROMPTS_FILE,
    Shard,
    read_array,
    read_shard,
)
from pipeline.core.vocabulary import Vocabulary


def read_logits(encoder: str, folder: Path, vocabulary: Vocabulary) -> Shard:
    """Compare an encoder's cached segments with its captions.

    Parameters
    ----------
    encoder
        ``clip`` or ``clap``, which the features must be of.
    folder
        Has ``K-of-N.safetensors`` with ``embedding [N, T, D]`` and ``prompts.safetensors`` with
        ``text [C, D]``, both L2-normalised, and ``logit_scale`` (exponentiated) in its header.
    vocabulary
        The classes that the prompts must be of.

    Returns
    -------
    Shard
        ``logits [N, T, C]`` float32, in ``[-logit_scale, logit_scale]``; the shards' meta.

    Raises
    ------
    PipelineError
        A file is missing, the shards were made differently or hold no video, they are of another
        encoder, or the prompts are of other classes or belong to other features.
    """
    prompts = read_shard(folder / PROMPTS_FILE)
    if prompts.names != vocabulary.names:
        raise PipelineError(
            f"the prompts in '{folder}' are of {len(prompts.names)} classes that differ from the "
            f"vocabulary's {len(vocabulary)}; run the prompts stage with this vocabulary."
        )
    text = float(prompts.meta["logit_scale"]) * prompts["text"].T
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
    return Shard(joined.names, {"logits": joined["embedding"] @ text}, joined.meta)
