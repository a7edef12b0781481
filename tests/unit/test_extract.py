import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from small_encoders import DIMENSION, IMAGE_SIZE, write_clip, write_tokenizer

from pipeline.cli import main
from pipeline.core.errors import PipelineError, Status
from pipeline.core.files import sha256_of
from pipeline.core.shards import (
    Shard,
    StatusRow,
    read_array,
    read_shard,
    read_status,
    write_shard,
    write_status,
)
from pipeline.core.vocabulary import read_vocabulary
from pipeline.features.encoders.options import encoder_options
from pipeline.features.encoders.runner import Runner
from pipeline.features.extract import encode_shard
from pipeline.features.prompts import write_prompts

T = 4


class Doubler:
    """An encoder whose features say which frames they are of."""

    spec = encoder_options("clip", backend="open_clip", model="a-name", weights="random:5")
    source = "frames"
    logit_scale = 2.5
    runner = Runner(torch.device("cpu"), batch_size=2 * T + 1)

    def __init__(self):
        self.dimensions = {"embedding": 2}
        self.notes = {"made": "by hand"}
        self.batches = []

    def embed(self, segments):
        self.batches.append(len(segments))
        value = segments[:, :, 0, 0, 0, 0].astype(np.float32)
        value[value == 13] = np.inf
        return {"embedding": np.stack([value, 2 * value], axis=-1)}

    context_length = 3

    def token_counts(self, captions):
        return [len(caption.split()) for caption in captions]

    def tokenize(self, captions):
        return torch.arange(len(captions))[:, None]

    def embed_captions(self, captions):
        return np.eye(2, dtype=np.float32)[: len(captions)]


@pytest.fixture
def segments(tmp_path):
    """Five videos of four segments; frame (n, t) is filled with 4 n + t; a sixth was left out."""
    return write_segments(tmp_path, videos=5)


def write_segments(folder, videos):
    values = np.arange(videos * T, dtype=np.uint8).reshape(videos, T, 1, 1, 1, 1)
    frames = np.broadcast_to(values, (videos, T, 1, IMAGE_SIZE, IMAGE_SIZE, 3))
    names = tuple(f"video{n}_0_4" for n in range(videos))
    path, status = folder / "1-of-2.safetensors", folder / "1-of-2.status.tsv"
    meta = {"segments": str(T), "fingerprint": "0123456789"}
    write_shard(path, Shard(names, {"frames": frames}, meta))
    rows = [StatusRow(name, True, Status.OK, backend="decord") for name in names]
    write_status(status, [*rows, StatusRow("gone_0_4", False, Status.MISSING, "no file")])
    return path, status


def encode(segments, folder, encoder=None, fingerprint=None):
    out, status = folder / "out" / "1-of-2.safetensors", folder / "out" / "1-of-2.status.tsv"
    timing = encode_shard(encoder or Doubler(), *segments, out, status, fingerprint)
    return read_shard(out), read_status(status), timing


def test_every_segment_gets_its_own_features_in_batches_of_whole_videos(segments, tmp_path):
    encoder = Doubler()
    shard, _, _ = encode(segments, tmp_path, encoder)
    assert encoder.batches == [2, 2, 1]
    kept = [n for n in range(5) if n != 3]
    assert shard.names == tuple(f"video{n}_0_4" for n in kept)
    expected = np.array([[4 * n + t for t in range(T)] for n in kept], dtype=np.float32)
    assert np.array_equal(shard["embedding"], np.stack([expected, 2 * expected], axis=-1))


class SlowFirst(Doubler):
    """An encoder whose first batch is ready last."""

    def __init__(self):
        super().__init__()
        self.others = threading.Semaphore(0)

    def embed(self, segments):
        is_first = segments[0, 0, 0, 0, 0, 0] == 0
        if is_first:
            assert self.others.acquire(timeout=60), "no second batch was started"
        else:
            self.others.release()
        return super().embed(segments)


def test_batches_in_flight_together_stay_in_order(segments, tmp_path, monkeypatch):
    expected, _, _ = encode(segments, tmp_path)
    monkeypatch.setattr(Runner, "in_flight", 2)
    shard, _, _ = encode(segments, tmp_path, SlowFirst())
    assert shard.names == expected.names
    assert np.array_equal(shard["embedding"], expected["embedding"])


def test_features_that_are_not_finite_are_a_status_row(segments, tmp_path):
    _, rows, _ = encode(segments, tmp_path)
    assert len(rows) == 6
    status = {row.filename: row for row in rows}
    assert (status["video3_0_4"].status, status["video3_0_4"].kept) == (Status.NOT_FINITE, False)
    assert "clip" in status["video3_0_4"].detail
    assert (status["gone_0_4"].status, status["gone_0_4"].detail) == (Status.MISSING, "no file")
    assert status["video0_0_4"] == StatusRow("video0_0_4", True, Status.OK, backend="decord")


def test_meta_says_how_the_features_were_made(segments, tmp_path):
    shard, _, _ = encode(segments, tmp_path)
    expected = Doubler.spec.fingerprint("0123456789")
    assert shard.meta["fingerprint"] == expected
    assert shard.meta["encoder"] == "clip"
    assert shard.meta["weights"] == "random:5"
    assert shard.meta["made"] == "by hand"
    assert shard.meta["segments"] == str(T)
    encode(segments, tmp_path, fingerprint=expected)


def test_another_fingerprint_is_refused_before_anything_is_written(segments, tmp_path):
    with pytest.raises(PipelineError, match="ffffffffff was expected"):
        encode(segments, tmp_path, fingerprint="ffffffffff")
    assert not (tmp_path / "out").exists()


def test_a_cache_of_half_the_size_is_named_apart_checked_and_read_as_float32(segments, tmp_path):
    encoder = Doubler()
    encoder.spec = Doubler.spec.model_copy(update={"storage": "float16"})
    shard, _, _ = encode(segments, tmp_path, encoder)
    assert shard["embedding"].dtype == np.float16
    assert shard.meta["storage"] == "float16"
    assert shard.meta["fingerprint"] != Doubler.spec.fingerprint("0123456789")
    folder = tmp_path / "half"
    write_shard(folder / "1-of-1.safetensors", shard)
    read = read_array(folder, "embedding")
    assert read["embedding"].dtype == np.float32
    assert np.array_equal(read["embedding"], shard["embedding"])


def test_what_float16_cannot_hold_is_a_status_row(segments, tmp_path):
    class Loud(Doubler):
        def embed(self, segments):
            return {"embedding": 6000 * super().embed(segments)["embedding"]}

    encoder = Loud()
    encoder.spec = Doubler.spec.model_copy(update={"storage": "float16"})
    with np.errstate(over="ignore"):
        shard, rows, _ = encode(segments, tmp_path, encoder)
    # 2 * 6000 * 5 is the largest value that stays below float16's 65,504.
    assert shard.names == ("video0_0_4",)
    assert [row.status for row in rows].count(Status.NOT_FINITE) == 4


def test_a_batch_size_that_is_to_be_found_is_found_before_the_first_batch(segments, tmp_path):
    class Patient(Doubler):
        runner = Runner(torch.device("cpu"), is_tuned=False)

        def embed(self, segments):
            self.runner.batch_size = min(self.runner.batch_size, 2 * T)  # memory is short at once
            return super().embed(segments)

    encoder = Patient()
    shard, _, _ = encode(segments, tmp_path, encoder)
    assert encoder.runner.is_tuned
    assert encoder.batches[-3:] == [2, 2, 1]
    assert len(shard.names) == 4


def test_a_shard_without_videos_keeps_the_shapes(tmp_path):
    shard, rows, _ = encode(write_segments(tmp_path, videos=0), tmp_path)
    assert shard.names == ()
    assert shard["embedding"].shape == (0, T, 2)
    assert [row.filename for row in rows] == ["gone_0_4"]


def test_a_shard_that_lacks_the_encoders_source_is_named(segments, tmp_path):
    encoder = Doubler()
    encoder.source = "audio"
    with pytest.raises(PipelineError, match=r"no array 'audio'.*it has frames"):
        encode(segments, tmp_path, encoder)


def test_an_error_while_reading_ahead_is_not_swallowed(segments, tmp_path, monkeypatch):
    def broken(reader, key, start, stop):
        raise OSError(f"cannot read {start}")

    monkeypatch.setattr("pipeline.core.shards.ShardReader.rows", broken)
    with pytest.raises(OSError, match="cannot read 0"):
        encode(segments, tmp_path)


def test_one_log_line_says_where_the_time_went(segments, tmp_path, caplog):
    with caplog.at_level("INFO", logger="pipeline"):
        _, _, timing = encode(segments, tmp_path)
    (line,) = [record.getMessage() for record in caplog.records if "waited" in record.getMessage()]
    for word in ("clip 1-of-2", "5 videos", "read", "encode", "write", "videos/s", "waited"):
        assert word in line
    assert min(timing.read, timing.waited, timing.encode, timing.write) >= 0


def test_prompts_are_the_captions_of_the_encoders_modality(tmp_path):
    vocabulary = read_vocabulary()
    two = type(vocabulary)(vocabulary.classes[:2])
    write_prompts(Doubler(), two, tmp_path / "prompts.safetensors", "abcdefabcd")
    shard = read_shard(tmp_path / "prompts.safetensors")
    assert shard.names == two.names
    assert np.array_equal(shard["text"], np.eye(2))
    assert float(shard.meta["logit_scale"]) == 2.5
    assert shard.meta["fingerprint"] == "abcdefabcd"


def test_prompts_say_which_tokenizer_read_the_captions(tmp_path):
    write_tokenizer(tmp_path)
    encoder = Doubler()
    encoder.spec = encoder_options(
        "clap",
        backend="laion_clap",
        model="HTSAT-tiny",
        weights="weights.pt",
        sha256="a" * 64,
        tokenizer=str(tmp_path),
    )
    vocabulary = read_vocabulary()
    two = type(vocabulary)(vocabulary.classes[:2])
    meta = write_prompts(encoder, two, tmp_path / "prompts.safetensors", "abcdefabcd").meta
    for name in ("vocab.json", "merges.txt"):
        assert meta[name] == sha256_of(tmp_path / name)


def test_both_stages_from_the_command_line(tmp_path, segments, capsys):
    spec = write_clip(tmp_path)
    encoder = ["--encoder", "clip", "--backend", "open_clip", "--model", spec.model]
    encoder += ["--weights", spec.weights, "--device", "cpu", "--batch-size", "8"]
    out = tmp_path / "features"
    fingerprint = spec.fingerprint("0123456789")
    files = ["--segments", str(segments[0]), "--status-in", str(segments[1])]
    files += ["--out", str(out / "1-of-2.safetensors"), "--status", str(out / "1-of-2.status.tsv")]
    assert main(["features", *encoder, *files, "--fingerprint", fingerprint]) == 0
    prompts = ["--fingerprint", fingerprint, "--out", str(out / "prompts.safetensors")]
    assert main(["prompts", *encoder, *prompts]) == 0
    features, text = read_shard(out / "1-of-2.safetensors"), read_shard(out / "prompts.safetensors")
    assert features["embedding"].shape == (5, T, DIMENSION)
    assert text["text"].shape == (25, DIMENSION)
    assert text.names == read_vocabulary().names
    assert features.meta["fingerprint"] == text.meta["fingerprint"] == fingerprint
    assert main(["features", *encoder, *files, "--sha256", "0" * 64]) == 2
    assert "sha256" in capsys.readouterr().err


def test_help_loads_no_heavy_library(repository):
    code = (
        "import sys, json; from pipeline.cli import argument_parser; argument_parser('features');"
        "argument_parser('prompts'); argument_parser('fetch');"
        "print(json.dumps([name for name in ('torch', 'open_clip') if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
