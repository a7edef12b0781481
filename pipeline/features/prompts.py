"""The prompts stage: the class captions through an encoder's text tower."""

from pathlib import Path

from pipeline.core.files import sha256_of
from pipeline.core.shards import Shard, write_shard
from pipeline.core.vocabulary import Vocabulary
from pipeline.features.encoders.base import CaptionEncoder, prove_captions
from pipeline.features.encoders.options import FEATURES_VERSION


def write_prompts(
    encoder: CaptionEncoder, vocabulary: Vocabulary, path: Path, fingerprint: str
) -> Shard:
    """Embed the captions of an encoder's modality and write them.

    Parameters
    ----------
    encoder
        CLIP (visual captions) or CLAP (audio captions).
    vocabulary
        The C classes.
    path
        The shard: names are the classes, ``text [C, D]`` L2-normalised, meta ``logit_scale`` is
        the factor on cosines (already exponentiated), and the tokenizer's files have their sha256.
    fingerprint
        That of the features which the prompts belong to.

    Raises
    ------
    PipelineError
        Two captions cannot be told apart.
    """
    captions = vocabulary.captions(encoder.spec.modality)
    tokenizer = {path.name: sha256_of(path) for path in encoder.spec.tokenizer_files}
    meta = {
        **encoder.notes,
        "encoder": encoder.spec.encoder,
        "weights": encoder.spec.weights_identity,
        **tokenizer,
        "version": str(FEATURES_VERSION),
        "logit_scale": repr(encoder.logit_scale),
        "fingerprint": fingerprint,
    }
    shard = Shard(vocabulary.names, {"text": prove_captions(encoder, captions)}, meta)
    write_shard(path, shard)
    return shard
