import json

import pytest
from small_encoders import write_tokenizer
from tokenizers import Tokenizer, models

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders.tokenizer import (
    ROBERTA_SIZE,
    SPECIAL_TOKENS,
    read_tokenizer,
    stand_in_tokenizer,
)

CAPTIONS = read_vocabulary().captions("audio")


def distinct(ids):
    return len({tuple(row) for row in ids.tolist()})


@pytest.fixture
def folder(tmp_path):
    return tmp_path, write_tokenizer(tmp_path)


def test_captions_are_framed_padded_and_distinct(folder):
    path, size = folder
    tokenizer = read_tokenizer(path, size, positions=78)
    ids, mask = tokenizer(CAPTIONS)
    assert ids.shape == mask.shape
    assert distinct(ids) == 25
    assert (ids[:, 0] == 0).all()
    ends = mask.sum(dim=1) - 1
    assert all(row[end] == 2 for row, end in zip(ids, ends, strict=True))
    assert (ids[mask == 0] == 1).all()
    assert int(mask.sum(dim=1).max()) == mask.shape[1]


def test_both_forms_of_the_files_read_alike(folder, tmp_path):
    path, size = folder
    two_files = read_tokenizer(path, size, 78)
    whole = tmp_path / "whole"
    whole.mkdir()
    two_files.tokenizer.save(str(whole / "tokenizer.json"))
    again = read_tokenizer(whole, size, 78)
    assert again(CAPTIONS)[0].tolist() == two_files(CAPTIONS)[0].tolist()


def test_a_lost_vocabulary_is_refused(tmp_path):
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, "<mask>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(PipelineError, match=f"has 5 entries.*{ROBERTA_SIZE}"):
        read_tokenizer(tmp_path, ROBERTA_SIZE, 512)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(PipelineError, match=r"CLAP's tokenizer.*vocab\.json"):
        read_tokenizer(tmp_path, 300, 78)


def test_a_vocabulary_of_the_right_size_but_other_entries_is_refused(tmp_path):
    stand_in_tokenizer(ROBERTA_SIZE, 512).tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(PipelineError, match="31414, 232"):
        read_tokenizer(tmp_path, ROBERTA_SIZE, 512)


def test_other_special_tokens_are_refused(tmp_path):
    vocabulary = {"[PAD]": 0, "[CLS]": 1}
    Tokenizer(models.BPE(vocab=vocabulary, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(PipelineError, match="must be 0, 1, 2 and 3"):
        read_tokenizer(tmp_path, 2, 78)


def test_the_stand_in_has_the_size_and_tells_captions_apart():
    tokenizer = stand_in_tokenizer(ROBERTA_SIZE, 512)
    assert tokenizer.size == ROBERTA_SIZE
    ids, _ = tokenizer(CAPTIONS)
    assert distinct(ids) == 25
    assert int(ids.max()) < ROBERTA_SIZE


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer.json": '{"version": "1'}, r"tokenizer\.json' is not a tokenizer's file, or"),
        ({"tokenizer.json": "version https://git-lfs.github.com/spec/v1\n"}, "Git LFS pointer"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b c d"}, r"or '.*merges\.txt' is not a tok"),
    ],
)
def test_a_file_that_was_cut_is_named(files, sentence, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(PipelineError, match=sentence):
        read_tokenizer(tmp_path, 265, 514)
