"""CLAP's tokenizer: RoBERTa's byte-level BPE, read from local files and checked.

The ``tokenizers`` library reads the files directly, because transformers 5 silently replaces a
missing file by an empty vocabulary, which gives every caption the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from pipeline.core.errors import PipelineError
from pipeline.core.reading import check_not_pointer
from pipeline.features.encoders.options import tokenizer_files

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
# Indices 0 to 3 of every RoBERTa vocabulary.
SPECIAL_TOKENS = (START, PAD, END, UNKNOWN)
# laion_clap truncates to 77 tokens (its hook.py).
MAX_LENGTH = 77
# roberta-base: vocabulary size, and the token ids of a text (transformers' RobertaTokenizer docs).
ROBERTA_SIZE = 50265
GOLDEN_TEXT, GOLDEN_IDS = "Hello world", [0, 31414, 232, 2]


@dataclass(frozen=True)
class CaptionTokenizer:
    """Convert captions, cut at ``context_length``, to padded token ids and their mask."""

    tokenizer: Tokenizer
    context_length: int

    @property
    def size(self) -> int:
        """Vocabulary size."""
        return int(self.tokenizer.get_vocab_size())

    def counts(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has before it is cut."""
        uncut = Tokenizer.from_str(self.tokenizer.to_str())
        uncut.no_truncation()
        uncut.no_padding()
        return [len(one.ids) for one in uncut.encode_batch(list(captions))]

    def __call__(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask (1 for tokens), int64 ``[C, L]``, where L fits the longest."""
        encoded = self.tokenizer.encode_batch(list(captions))
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        return ids, mask


def read_tokenizer(folder: Path, size: int, positions: int) -> CaptionTokenizer:
    """Read a tokenizer from ``tokenizer.json``, or from ``vocab.json`` and ``merges.txt``.

    Parameters
    ----------
    folder
        Folder of the files.
    size
        Vocabulary size of the model.
    positions
        Largest number of tokens of the model.

    Raises
    ------
    PipelineError
        Files are missing, or the vocabulary is not the model's.
    """
    checked = _prepared(_read_files(tokenizer_files(folder)), positions)
    if checked.size != size:
        raise PipelineError(
            f"the tokenizer in '{folder}' has {checked.size} entries, but the model has {size};"
            " point `tokenizer` to the model's own files."
        )
    golden = checked.tokenizer.encode(GOLDEN_TEXT).ids
    if size == ROBERTA_SIZE and golden != GOLDEN_IDS:
        raise PipelineError(
            f"the tokenizer in '{folder}' reads '{GOLDEN_TEXT}' as {golden}, but roberta-base gives"
            f" {GOLDEN_IDS}; point `tokenizer` to the files of roberta-base."
        )
    return checked


def _read_files(paths: Sequence[Path]) -> Tokenizer:
    """Return the tokenizer in ``tokenizer.json``, or in ``vocab.json`` and ``merges.txt``."""
    for path in paths:
        check_not_pointer(path)
    files = [str(path) for path in paths]
    try:
        if len(files) == 1:
            return Tokenizer.from_file(*files)
        return _byte_level(models.BPE.from_file(*files, unk_token=UNKNOWN))
    except Exception as error:  # the library raises nothing more specific
        named = " or ".join(f"'{path}'" for path in paths)
        raise PipelineError(
            f"{named} is not a tokenizer's file, or was cut ({error}); download it again."
        ) from None


def stand_in_tokenizer(size: int, positions: int) -> CaptionTokenizer:
    """Return a tokenizer of single bytes with ``size`` entries, for randomly initialised models."""
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
            f"the tokenizer's ids of {', '.join(SPECIAL_TOKENS)} must be 0, 1, 2 and 3, not {seen};"
            " point `tokenizer` to the files of roberta-base."
        )
    start, pad, end, _ = range(len(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.RobertaProcessing((END, end), (START, start))
    context_length = min(MAX_LENGTH, positions)
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=pad, pad_token=PAD)
    return CaptionTokenizer(tokenizer, context_length)
