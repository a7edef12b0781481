"""What holds on a GPU: features near the CPU's, memory that runs out, claims, training, repeats.

Run by run.sh, on a GPU that nothing else uses. Large models have weights drawn from a seed.
"""

import copy
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_encode import T, demo_spec, segments_of, write_segments
from harness import CORES, PRECISIONS, REHEARSAL, clap_spec, clip_spec
from harness import device as chosen_device
from numpy.typing import NDArray
from simulated import make_dataset, make_world
from small_methods import SMALL as SIZES

from pipeline.core.gpus import VISIBLE
from pipeline.core.vocabulary import read_vocabulary
from pipeline.demo.examples import (
    TRAINING,
    draw_examples,
    draw_pictures,
    name_examples,
    play_sounds,
)
from pipeline.features.encoders.base import CaptionEncoder, load_encoder
from pipeline.features.encoders.runner import FIRST_BATCH, LARGEST_BATCH
from pipeline.features.extract import encode_shard
from pipeline.labels.similarity import similarity_logits
from pipeline.labels.thresholds import best_threshold
from pipeline.parsers.decision import decide
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.batched_seeds import BatchedTrainer
from pipeline.training.trainer import STATE_FILE, Trainer, TrainingJob

pytestmark = pytest.mark.needs_cuda

REPOSITORY = Path(__file__).resolve().parents[2]
# The smallest cosine that a segment's embedding may have with the CPU's in fp32, and the largest
# share of the pseudo-labels that may change.
COSINE = {"fp32": 1 - 1e-5, "tf32": 1 - 1e-4, "fp16": 1 - 1e-4, "bf16": 1 - 1e-2}
CHANGED = {"fp32": 5e-4, "tf32": 2e-3, "fp16": 5e-3, "bf16": 2e-2}
EXAMPLES = 20 if REHEARSAL else 300
# A CPU has no graphs to prove, and test_every_method.py trains every method on one.
METHODS = ("link",) if REHEARSAL else ("valorpp", "link")
SMALL = {"width": 64, "layers": 2, "heads": 2, "feedforward": 64, "batch_size": 16}
SMALL |= {"epochs": 10 if REHEARSAL else 20}
# Every other method whose steps can become a CUDA graph.
OTHERS = ("han", "mm_pyramid", "mgn", "dgsct_temporal", "valor", "leap_han", "leap", "mm_cse")
OTHERS = OTHERS[:2] if REHEARSAL else OTHERS
# Claims a GPU, computes on it, and says when it began and ended.
CLAIM = """
import sys, time
from pathlib import Path
from pipeline.core.gpus import claimed_gpus
with claimed_gpus(1, Path(sys.argv[1])) as gpus:
    print(*gpus, time.monotonic(), flush=True)
    import torch
    torch.ones(1000, device=sys.argv[2]).sum().item()
    print(time.monotonic(), flush=True)
"""

only_on_cards = pytest.mark.skipif(
    REHEARSAL and not torch.cuda.is_available(), reason="there is no card whose memory could end"
)


@dataclass(frozen=True)
class Pair:
    """The same encoder on the CPU and, by precision, on the GPU; segments, and the CPU's arrays."""

    host: CaptionEncoder
    card: Callable[[str], CaptionEncoder]
    segments: NDArray[np.generic]
    expected: dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", params=["clip", "clap"])
def pair(request, tmp_path_factory) -> Pair:
    """The large encoders, and a video's segments."""
    if not REHEARSAL:
        torch.set_num_threads(CORES)
    folder = tmp_path_factory.mktemp("clap")
    spec = clip_spec() if request.param == "clip" else clap_spec(folder)
    host = load_encoder(spec, "cpu")
    segments = segments_of(host, 1)

    @cache
    def card(precision: str) -> CaptionEncoder:
        return load_encoder(spec.model_copy(update={"precision": precision}), str(chosen_device()))

    return Pair(host, card, segments, host.embed(segments))


def cosines(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    one, other = (array.reshape(-1, array.shape[-1]).astype(float) for array in (found, expected))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths


@pytest.mark.parametrize("precision", PRECISIONS)
def test_features_are_near_the_cpus(pair, precision, record_property):
    skip_fp16_on_cpus(precision, chosen_device())
    for key, found in pair.card(precision).embed(pair.segments).items():
        cosine = cosines(found, pair.expected[key])
        record_property(f"1 - least cosine, {key}", float(1 - cosine.min()))
        record_property(f"1 - mean cosine, {key}", float(1 - cosine.mean()))
        record_property(f"largest difference, {key}", float(abs(found - pair.expected[key]).max()))
        assert cosine.min() > COSINE[precision]


def test_features_are_the_same_again(pair):
    first, second = (pair.card("bf16").embed(pair.segments) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_captions_embed_as_on_the_cpu(pair, record_property):
    captions = read_vocabulary().captions(pair.host.spec.modality)
    found, expected = (each.embed_captions(captions) for each in (pair.card("fp32"), pair.host))
    record_property("1 - least cosine, captions", float(1 - cosines(found, expected).min()))
    assert cosines(found, expected).min() > COSINE["fp32"]


@pytest.mark.parametrize("encoder", ["clip", "clap"])
def test_few_pseudo_labels_change(encoder, device, record_property):
    """With the demo's encoders, which are trained: on examples of its classes."""
    spec = demo_encoder(encoder)
    scripts = draw_examples(0, EXAMPLES)
    if encoder == "clip":
        pictures = draw_pictures(scripts, TRAINING, 64)
        segments = pictures.reshape(-1, T, 1, *pictures.shape[1:])
    else:
        segments = play_sounds(scripts, TRAINING).reshape(-1, T * 48_000)
    truth = name_examples(scripts, 0, 0.0) > 0
    host, card = load_encoder(spec, "cpu"), load_encoder(spec, str(device))
    expected = logits_of(host, segments)
    pairs = zip(expected.T, truth.T, strict=True)
    thresholds = np.array([best_threshold(*each) for each in pairs])
    for precision in PRECISIONS:
        if device.type == "cpu" and precision == "fp16":
            continue
        card.runner.precision = precision
        changed = (logits_of(card, segments) > thresholds) != (expected > thresholds)
        record_property(f"labels changed, {precision}", int(changed.sum()))
        assert changed.mean() < CHANGED[precision]
    record_property("labels", truth.size)


def test_a_shard_is_encoded_alike_twice(device, tmp_path):
    """The stage: read ahead into pinned memory, copied while the card computes."""
    encoder = load_encoder(demo_encoder("clip").model_copy(update={"batch_size": 40}), str(device))
    places = write_segments(encoder, segments_of(encoder, 30), tmp_path)
    files = []
    for _ in range(2):
        encode_shard(encoder, *places)
        files.append(places[2].read_bytes())
    assert files[0] == files[1]


@only_on_cards
def test_batches_are_halved_when_memory_ends(pair, record_property):
    encoder, card = pair.card("fp32"), torch.cuda.current_device()
    runner = encoder.runner
    before = runner.batch_size
    videos = np.repeat(pair.segments, 100, axis=0)
    runner.batch_size = 50
    expected = encoder.embed(videos)["embedding"]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(card).total_memory
    room = torch.cuda.memory_allocated(card) + 1.5 * 2**30
    torch.cuda.set_per_process_memory_fraction(room / total, card)
    try:
        runner.batch_size = 1000
        found = encoder.embed(videos)["embedding"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card)
    record_property("batch after halving", runner.batch_size)
    halved, runner.batch_size = runner.batch_size, before
    assert halved < 1000
    assert cosines(found, expected).min() > COSINE["fp32"]


@only_on_cards
def test_a_batch_size_is_found(pair, record_property):
    encoder = pair.card("bf16")
    runner = encoder.runner
    before = runner.batch_size
    runner.is_tuned = False
    began = time.monotonic()
    runner.tune(encoder.embed, pair.segments, T)
    record_property("batch found", runner.batch_size)
    record_property("search seconds", time.monotonic() - began)
    found, runner.batch_size = runner.batch_size, before
    assert FIRST_BATCH <= found <= LARGEST_BATCH


def test_jobs_that_claim_one_card_take_turns(device, tmp_path, monkeypatch, record_property):
    if device.type == "cpu":
        monkeypatch.setenv(VISIBLE, "0")
    words = [sys.executable, "-c", CLAIM, str(tmp_path / "locks"), device.type]
    jobs = [
        subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    spans = []
    for job in jobs:
        (gpu, began), (ended,) = (line.split() for line in job.communicate()[0].splitlines())
        assert (job.returncode, gpu) == (0, "0")
        spans.append((float(began), float(ended)))
    assert all(one[1] <= other[0] for one, other in pairwise(sorted(spans)))
    locks = {path.name for path in (tmp_path / "locks").iterdir()} - {"queue"}
    record_property("lock", ", ".join(name[:8] for name in locks))
    if device.type == "cuda" and shutil.which("nvidia-smi"):
        assert all(name.startswith("GPU-") for name in locks)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_are_near_the_cpus(method, device, record_property):
    world = make_world(25)
    recipe = recipe_for(method, {})
    data = make_dataset(world, 8, 30 if REHEARSAL else 300, recipe=recipe)
    torch.manual_seed(0)
    parser = build_network(method, data.dimensions, recipe)
    inputs = data.evaluated["val"].inputs
    expected = parse_videos(parser, inputs, recipe)
    found = parse_videos(copy.deepcopy(parser).to(device), inputs.to(device), recipe)
    largest = max(
        float(abs(getattr(found, key) - getattr(expected, key)).max())
        for key in ("audio", "visual", "gate")
    )
    decisions = zip(decide(found, recipe), decide(expected, recipe), strict=True)
    record_property("largest difference, probabilities", largest)
    record_property("decisions changed", sum(int((a != b).sum()) for a, b in decisions))
    assert largest < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_training_with_graphs_is_the_same_again_and_after_a_kill(
    method, device, tmp_path, record_property
):
    first, second = (trained(method, tmp_path / name, device) for name in ("first", "second"))
    assert_same(first, second)
    state = tmp_path / "killed" / STATE_FILE
    kill_in_training(method, state)
    left_at = torch.load(state, map_location="cpu", weights_only=True)["progress"]["epoch"]
    record_property("killed after epoch", left_at)
    assert 0 < left_at < SMALL["epochs"]
    assert_same(first, trained(method, state.parent, device))


@pytest.mark.parametrize("method", METHODS)
def test_steps_of_graphs_are_those_without(method, device, tmp_path, record_property):
    """With the recipe's dropout, full batches, and a last one that is smaller."""
    with_graphs = trained(method, tmp_path / "graphs", device)
    eager = trained(method, tmp_path / "eager", device, cuda_graphs=False)
    compare(with_graphs, eager, record_property)


@pytest.mark.parametrize("method", OTHERS)
def test_graphs_of_other_methods(method, device, tmp_path, record_property):
    recipe = recipe_for(method, {**SIZES[method], "epochs": 3, "batch_size": 8})
    data = make_dataset(make_world(classes=5), 20, 6)
    trainers = [
        Trainer(TrainingJob(method, recipe, data, 3, device, cuda_graphs))
        for cuda_graphs in (True, False)
    ]
    for way, trainer in enumerate(trainers):
        # The steps of both must not take turns with one generator.
        torch.manual_seed(3)
        trainer.run(tmp_path / str(way) / STATE_FILE)
    compare(*trainers, record_property)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_as_one_network(method, device, tmp_path, record_property):
    """With graphs as without, and resumed as undisturbed, bit for bit; a score beside seed 0's."""
    undisturbed = batched(method, tmp_path / "graphs.pt", device)
    eager = batched(method, tmp_path / "eager.pt", device, cuda_graphs=False)
    halfway = batched(method, tmp_path / "halfway.pt", device, stop_after=10)
    halfway.save(tmp_path / "halfway.pt")
    resumed = batched(method, tmp_path / "halfway.pt", device)
    for one, others in zip(
        undisturbed.trainers, zip(eager.trainers, resumed.trainers, strict=True), strict=True
    ):
        for other in others:
            assert_same(one, other)
    if device.type == "cuda":
        assert undisturbed._captured is not None
        assert eager._captured is None
    scores = [seed.progress.best_score for seed in undisturbed.trainers]
    recipe, data = undisturbed.recipe, undisturbed.job.dataset
    alone = Trainer(TrainingJob(method, recipe, data, 0, device))
    alone.run(tmp_path / STATE_FILE)
    record_property(
        "Type@AV, seed 0 in the network and alone", [scores[0], alone.progress.best_score]
    )


def batched(
    method: str,
    state: Path,
    device: torch.device,
    cuda_graphs: bool = True,
    stop_after: int | None = None,
) -> BatchedTrainer:
    """Train two seeds as one network, from the state if there is one."""
    torch.set_num_threads(1)
    recipe = recipe_for(method, SMALL)
    data = make_dataset(make_world(), 56, 16, recipe=recipe)
    jobs = [TrainingJob(method, recipe, data, seed, device, cuda_graphs) for seed in (0, 1)]
    trainer = BatchedTrainer(jobs)
    if stop_after is None:
        trainer.run(state, math.inf)
    else:
        for epoch in range(1, stop_after + 1):
            trainer.run_epoch(epoch)
    return trainer


def compare(with_graphs: Trainer, eager: Trainer, record_property) -> None:
    """Record how far two trainings are apart, and fail unless they agree in every bit."""
    if with_graphs.job.device.type == "cuda":
        assert with_graphs._captured is not None
        assert eager._captured is None
    curves = [trainer.progress.curve for trainer in (with_graphs, eager)]
    losses = [abs(one["loss"] - other["loss"]) for one, other in zip(*curves, strict=True)]
    record_property("largest difference, loss", max(losses))
    states = [trainer.plan.state_dict() for trainer in (with_graphs, eager)]
    apart = [float((value - states[1][name]).abs().max()) for name, value in states[0].items()]
    record_property("largest difference, weights", max(apart))
    assert_same(with_graphs, eager)


def trained(method: str, folder: Path, device: torch.device, cuda_graphs: bool = True) -> Trainer:
    """Train, from the state in the folder if there is one."""
    torch.set_num_threads(1)  # the order of a CPU's sums depends on it
    recipe = recipe_for(method, SMALL)
    data = make_dataset(make_world(), 56, 16, recipe=recipe)
    trainer = Trainer(TrainingJob(method, recipe, data, 0, device, cuda_graphs))
    trainer.run(folder / STATE_FILE, 0.0)
    return trainer


def kill_in_training(method: str, state: Path) -> None:
    """Train in another process, and kill it once it has saved its state."""
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=trained, args=(method, state.parent, chosen_device()))
    child.start()
    try:
        while not state.exists():
            assert child.is_alive(), "training ended without a state"
            time.sleep(0.002)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()


def assert_same(one: Trainer, other: Trainer) -> None:
    """Fail unless two trainings agree in every bit of their curves and weights."""
    curves = [[{**row, "seconds": 0} for row in trainer.progress.curve] for trainer in (one, other)]
    assert curves[0] == curves[1]
    weights = one.progress.best_weights, other.progress.best_weights
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def demo_encoder(encoder: str):
    if encoder == "clip":
        return demo_spec("clip", "open_clip", "clip.json", "clip.safetensors")
    return demo_spec("clap", "transformers", "clap", "clap/model.safetensors")


def logits_of(encoder: CaptionEncoder, segments: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the logits [segments, C] against the captions, which are encoded in fp32."""
    embedding = encoder.embed(segments)["embedding"]
    precision, encoder.runner.precision = encoder.runner.precision, "fp32"
    texts = encoder.embed_captions(read_vocabulary().captions(encoder.spec.modality))
    encoder.runner.precision = precision
    return similarity_logits(embedding.reshape(-1, texts.shape[1]), texts, encoder.logit_scale)


def skip_fp16_on_cpus(precision: str, device: torch.device) -> None:
    if device.type == "cpu" and precision == "fp16":
        pytest.skip("fp16 on a CPU is not for use")
