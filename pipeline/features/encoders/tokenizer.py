"""CLAP's tokenizer: RoBERTa's byte-level BPE, read from local files and checked.

Read with the ``tokenizers`` library itself, because transformers 5 answers a missing file with an
empty vocabulary and no error: every caption then becomes the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from pipeline.core.errors import PipelineError
from pipeline.features.encoders.options import tokenizer_files

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
# Indices 0 to 3 of every RoBERTa vocabulary.
SPECIAL_TOKENS = (START, PAD, END, UNKNOWN)
# laion_clap tokenizes to at most 77 tokens (its hook.py).
MAX_LENGTH = 77
# roberta-base: entries, and the ids of one text (transformers' documentation of RobertaTokenizer).
ROBERTA_SIZE = 50265
GOLDEN_TEXT, GOLDEN_IDS = "Hello world", [0, 31414, 232, 2]


@dataclass(frozen=True)
class CaptionTokenizer:
    """Captions to padded token ids ``[C, L]`` and their mask."""

    tokenizer: Tokenizer

    @property
    def size(self) -> int:
        """Number of entries of the vocabulary."""
        return int(self.tokenizer.get_vocab_size())

    def __call__(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask (1 where there is a token), int64 ``[C, L]``, L the longest's."""
        encoded = self.tokenizer.encode_batch(list(captions))
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        return ids, mask


def read_tokenizer(folder: Path, size: int, positions: int) -> CaptionTokenizer:
    """Read a tokenizer from ``tokenizer.json``, or from ``vocab.json`` and ``merges.txt``.

    Parameters
    ----------
    folder
        Where the files are.
    size
        Entries that the model's embedding table has.
    positions
        Tokens that the model has room for.

    Raises
    ------
    PipelineError
        Files are missing, or the vocabulary is not the one the model was trained with.
    """
    files = [str(path) for path in tokenizer_files(folder)]
    if len(files) == 1:
        tokenizer = Tokenizer.from_file(*files)
    else:
        tokenizer = _byte_level(models.BPE.from_file(*files, unk_token=UNKNOWN))
    checked = _prepared(tokenizer, positions)
    if checked.size != size:
        raise PipelineError(
            f"the tokenizer in '{folder}' has {checked.size} entries, but the model was trained"
            f" with {size}; point `tokenizer` to the model's own files."
        )
    golden = checked.tokenizer.encode(GOLDEN_TEXT).ids
    if size == ROBERTA_SIZE and golden != GOLDEN_IDS:
        raise PipelineError(
            f"the tokenizer in '{folder}' reads '{GOLDEN_TEXT}' as {golden}, but roberta-base as"
            f" {GOLDEN_IDS}; point `tokenizer` to roberta-base's files."
        )
    return checked


def stand_in_tokenizer(size: int, positions: int) -> CaptionTokenizer:
    """Return a tokenizer of single bytes with ``size`` entries, for random weights only."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*SPECIAL_TOKENS, *alphabet]
    entries += [f"<unused{index}>" for index in range(len(entries), size)]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    model = models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN)
    return _prepared(_byte_level(model), positions)


def _byte_level(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _prepared(tokenizer: Tokenizer, positions: int) -> CaptionTokenizer:
    seen = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
    if seen != list(range(len(SPECIAL_TOKENS))):
        raise PipelineError(
            f"the tokenizer has {', '.join(SPECIAL_TOKENS)} as {seen}; CLAP needs them as 0, 1, 2"
            " and 3."
        )
    start, pad, end, _ = range(len(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.RobertaProcessing((END, end), (START, start))
    tokenizer.enable_truncation(min(MAX_LENGTH, positions))
    tokenizer.enable_padding(pad_id=pad, pad_token=PAD)
    return CaptionTokenizer(tokenizer)
