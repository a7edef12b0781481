"""How batches run: sizes found and halved, memory formats, compilation, memory for a GPU."""

import shutil

import numpy as np
import pytest
import torch
from small_encoders import IMAGE_SIZE, write_clip

from pipeline.core.errors import PipelineError
from pipeline.features.encoders import base, runner
from pipeline.features.encoders.base import load_encoder
from pipeline.features.encoders.runner import FIRST_BATCH, LARGEST_BATCH, Runner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def plain(spec):
    return load_encoder(spec, "cpu")


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 4, 1, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)


def test_the_batch_is_halved_until_it_fits_and_no_row_is_lost():
    sizes = []

    def encode(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError("full")
        return batch * 2

    one = Runner(CPU, batch_size=16)
    rows = torch.arange(20.0)[:, None]
    assert torch.equal(one.run(rows, lambda batch: batch, encode), rows * 2)
    assert sizes[:4] == [16, 8, 4, 2]
    assert one.batch_size == 2


def test_one_row_that_does_not_fit_is_said():
    def encode(batch):
        raise torch.cuda.OutOfMemoryError("full")

    with pytest.raises(PipelineError, match="one segment does not fit"):
        Runner(CPU, batch_size=2).run(torch.zeros(3), lambda batch: batch, encode)


class Device:
    """A device whose seconds and memory are known: it is tried with videos of 4 segments."""

    def __init__(self, monkeypatch, seconds_of, room=10**9):
        self.runner = Runner(CPU, is_tuned=False)
        self.now, self.seconds_of, self.room = 0.0, seconds_of, room
        monkeypatch.setattr(runner.time, "perf_counter", lambda: self.now)

    def embed(self, videos):
        rows = torch.zeros(len(videos) * 4, 1)
        self.runner.run(rows, lambda batch: batch, self._encode)
        self.now += self.seconds_of(len(rows))

    def _encode(self, batch):
        if len(batch) > self.room:
            raise torch.cuda.OutOfMemoryError("full")
        return batch

    def tuned(self):
        self.runner.tune(self.embed, np.zeros((1, 4), dtype=np.uint8), segments=4)
        return self.runner


def test_the_batch_grows_while_a_doubling_is_faster(monkeypatch):
    # Up to 100 segments take a second, whatever their number; more take as much longer.
    found = Device(monkeypatch, lambda rows: max(1.0, rows / 100)).tuned()
    assert (found.batch_size, found.is_tuned) == (128, True)


def test_the_batch_grows_no_further_than_memory(monkeypatch):
    assert Device(monkeypatch, lambda rows: 1.0, room=70).tuned().batch_size == 64


def test_the_batch_has_bounds(monkeypatch):
    assert Device(monkeypatch, lambda rows: 1.0).tuned().batch_size == LARGEST_BATCH
    assert Device(monkeypatch, lambda rows: rows).tuned().batch_size == FIRST_BATCH


def test_an_automatic_batch_on_a_cpu_is_a_constant(spec):
    automatic = load_encoder(spec.model_copy(update={"batch_size": "auto"}), "cpu").runner
    assert (automatic.batch_size, automatic.is_tuned) == (base.CPU_BATCH, True)


def test_channels_last_changes_the_weights_of_the_tower():
    tower = torch.nn.Conv2d(3, 4, 2)
    Runner(CPU, channels_last=True).place(torch.nn.Sequential(tower), tower)
    assert tower.weight.is_contiguous(memory_format=torch.channels_last)
    assert not tower.weight.is_contiguous()


def test_channels_last_changes_no_more_than_the_order_of_sums(spec, plain, frames):
    other = load_encoder(spec.model_copy(update={"channels_last": True}), "cpu")
    found, expected = (encoder.embed(frames)["embedding"] for encoder in (other, plain))
    assert np.abs(found - expected).max() < 1e-6


def test_compiled_is_the_tower_alone(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    tower, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    Runner(CPU, compiled=True).place(torch.nn.Sequential(tower, head), tower)
    assert compiled == [tower]
    Runner(CPU).place(torch.nn.Sequential(tower, head), head)
    assert compiled == [tower]


@pytest.mark.extended
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_changes_no_more_than_the_order_of_sums(spec, plain, frames):
    other = load_encoder(spec.model_copy(update={"compiled": True}), "cpu")
    # Two batch sizes, as the last batch of a shard has another.
    for some in (frames, frames[:1]):
        found, expected = (encoder.embed(some)["embedding"] for encoder in (other, plain))
        assert np.abs(found - expected).max() < 1e-6


def test_options_of_running_are_not_in_the_fingerprint_and_storage_is(spec, plain):
    other = load_encoder(spec.model_copy(update={"batch_size": 3, "channels_last": True}), "cpu")
    assert other.spec.fingerprint("d") == plain.spec.fingerprint("d")
    half = spec.model_copy(update={"storage": "float16"})
    assert half.fingerprint("d") != spec.fingerprint("d")


def test_batches_for_a_cpu_are_left_where_they_are(frames):
    assert Runner(CPU).staged(frames) is frames


@pytest.mark.needs_cuda
def test_batches_for_a_gpu_are_pinned_and_embed_alike(spec, plain, frames):
    other = load_encoder(spec, "cuda")
    staged = other.runner.staged(frames)
    assert torch.from_numpy(staged).is_pinned()
    assert np.array_equal(staged, frames)
    difference = other.embed(staged)["embedding"] - plain.embed(frames)["embedding"]
    assert np.abs(difference).max() < 1e-4


def test_tf32_is_on_only_inside_the_block():
    def settings():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = settings()
    with Runner(CPU, "tf32").arithmetic():
        assert settings() == (True, True)
    assert settings() == before
