"""The prompts stage: encode the class captions with an encoder's text tower."""

from pathlib import Path

from pipeline.core.files import sha256_of
from pipeline.core.shards import Shard, write_shard
from pipeline.core.vocabulary import Vocabulary
from pipeline.features.encoders.base import CaptionEncoder, prove_captions
from pipeline.features.encoders.options import FEATURES_VERSION


def write_prompts(
    encoder: CaptionEncoder, vocabulary: Vocabulary, path: Path, fingerprint: str
) -> Shard:
    """Encode the captions of an encoder's modality and write them as a shard.

    Parameters
    ----------
    encoder
        CLIP (visual captions) or CLAP (audio captions).
    vocabulary
        The C classes.
    path
        Output shard: the names are the classes, ``text [C, D]`` is L2-normalised, and the meta has
        ``logit_scale`` (factor on cosines, exponentiated) and the SHA-256 of the tokenizer's files.
    fingerprint
        Fingerprint of the features that the prompts belong to.

    Raises
    ------
    PipelineError
        Two captions have the same tokens or embedding. Captions that are cut are only logged.
    """
    captions = vocabulary.captions(encoder.spec.modality)
    tokenizer = {path.name: sha256_of(path) for path in encoder.spec.tokenizer_files}
    meta = {
        **encoder.notes,
        "encoder": encoder.spec.encoder,
        "weights": encoder.spec.weights_identity,
        **encoder.spec.weights_checksum,
        **tokenizer,
        "version": str(FEATURES_VERSION),
        "logit_scale": repr(encoder.logit_scale),
        "fingerprint": fingerprint,
    }
    text = prove_captions(encoder, captions, vocabulary.names)
    shard = Shard(vocabulary.names, {"text": text}, meta)
    write_shard(path, shard)
    return shard
