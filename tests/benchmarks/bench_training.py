"""How long an epoch takes, and what batches by indexing and vectorised scores gain.

Run from the repository: ``PYTHONPATH=.:tests/unit python tests/benchmarks/bench_training.py``.
VALOR++ as configured, 10,000 training videos of 10 segments (CLIP 768, CLAP 768), batches of 64,
1,200 videos to evaluate; all numbers random, which costs what real ones cost. The plain way reads
each video's arrays from its own files, parses one video at a time and scores it in loops; both
ways run in this one process and must agree on the scores. The step is the same for both, and an
epoch's steps are extrapolated from ``--steps`` of them; everything else is measured whole.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from simulated import make_vocabulary, names_of

from pipeline.evaluation.metrics import score
from pipeline.parsers.decision import decide
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.recipes import Recipe
from pipeline.parsers.registry import build_network, recipe_for
from pipeline.training.dataset import EvaluationVideos, TrainingData, TrainingVideos
from pipeline.training.trainer import Trainer, TrainingJob

TRAIN, EVALUATED, SEGMENTS, CLASSES, WIDTH = 10_000, 1_200, 10, 25, 768
RECIPE = recipe_for("valorpp", {})
Label = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="training steps that are timed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = random_dataset(TRAIN, EVALUATED)
    batches = -(-TRAIN // RECIPE.batch_size)
    step = seconds_a_step(dataset, arguments.steps, RECIPE)
    rows = [
        ("batches of an epoch", *both_ways_of_loading(dataset)),
        (f"{batches} steps ({arguments.steps} timed)", step * batches, step * batches),
        *both_ways_of_evaluating(dataset),
    ]
    rows.append(("an epoch", *(sum(row[column] for row in rows) for column in (1, 2))))
    print(f"VALOR++, {TRAIN} training and {EVALUATED} evaluated videos, CPU, ", end="")
    print(f"{arguments.threads} thread(s), torch {torch.__version__}\n")
    print(f"{'':<30}{'plain, s':>10}{'here, s':>10}{'ratio':>8}")
    for name, plain, ours in rows:
        print(f"{name:<30}{plain:>10.3f}{ours:>10.3f}{plain / ours:>8.1f}")
    halved = seconds_a_step(dataset, arguments.steps, recipe_for("valorpp", {"precision": "bf16"}))
    print(f"\n{batches} steps with precision: bf16 {halved * batches:.3f} s, {step / halved:.1f}x")


def random_dataset(train: int, evaluated: int) -> TrainingData:
    """Random features; one or two classes a video, a third of whose segments are labelled."""
    random = np.random.default_rng(0)
    evaluated_inputs, _, truth = random_videos(random, evaluated)
    inputs, targets, _ = random_videos(random, train)
    videos = EvaluationVideos("val", names_of("val", evaluated), evaluated_inputs, truth)
    return TrainingData(
        train=TrainingVideos(names_of("train", train), inputs, targets),
        evaluated={"val": videos},
        dimensions=Dimensions(WIDTH, WIDTH, 0, 0, 0, SEGMENTS, CLASSES),
        vocabulary=make_vocabulary(CLASSES),
        fingerprints={},
    )


def random_videos(
    random: np.random.Generator, videos: int
) -> tuple[ParserInputs, ParserTargets, tuple[Label, Label]]:
    size = (videos, SEGMENTS, WIDTH)
    audio, visual = (random.standard_normal(size, dtype=np.float32) for _ in range(2))
    weak = random.random((videos, CLASSES)) < 1.6 / CLASSES
    heard, seen = (
        (weak[:, None] & (random.random((videos, SEGMENTS, CLASSES)) < 1 / 3)).astype(np.uint8)
        for _ in range(2)
    )
    targets = ParserTargets(
        torch.from_numpy(weak).float(),
        torch.from_numpy(heard).float(),
        torch.from_numpy(seen).float(),
    )
    return ParserInputs(torch.from_numpy(audio), torch.from_numpy(visual)), targets, (heard, seen)


def seconds_a_step(dataset: TrainingData, steps: int, recipe: Recipe) -> float:
    """Time the trainer's own pass over a few batches, their indexing included."""
    some = torch.arange(steps * RECIPE.batch_size)
    videos = TrainingVideos(
        dataset.train.names[: len(some)],
        dataset.train.inputs.take(some),
        dataset.train.targets.take(some),
    )
    fewer = TrainingData(
        videos, dataset.evaluated, dataset.dimensions, dataset.vocabulary, dataset.fingerprints
    )
    trainer = Trainer(TrainingJob("valorpp", recipe, fewer, 0, torch.device("cpu")))
    trainer.pass_over_videos(1)  # the first pass pays for memory
    return timed(lambda: trainer.pass_over_videos(2)) / steps


def both_ways_of_loading(dataset: TrainingData) -> tuple[float, float]:
    """Time one epoch's batches: from a file a video and array, and by indexing."""
    inputs, targets = dataset.train.inputs, dataset.train.targets
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(0))
    arrays = {
        "audio": inputs.audio,
        "visual": inputs.visual,
        "pseudo_audio": targets.pseudo[0],
        "pseudo_visual": targets.pseudo[1],
        "weak": targets.weak,
    }
    with tempfile.TemporaryDirectory() as folder:
        for key, tensor in arrays.items():
            for video, array in enumerate(tensor.numpy()):
                np.save(Path(folder) / f"{key}-{video}.npy", array)
        plain = timed(lambda: exhaust(plain_batches(Path(folder), tuple(arrays), order)))
    rows = order.split(RECIPE.batch_size)
    return plain, timed(lambda: exhaust((inputs.take(some), targets.take(some)) for some in rows))


def plain_batches(
    folder: Path, keys: tuple[str, ...], order: torch.Tensor
) -> Iterator[list[torch.Tensor]]:
    for rows in order.split(RECIPE.batch_size):
        yield [
            torch.from_numpy(np.stack([np.load(folder / f"{key}-{row}.npy") for row in rows]))
            for key in keys
        ]


def both_ways_of_evaluating(dataset: TrainingData) -> list[tuple[str, float, float]]:
    """Time parsing and scoring, one video at a time and all at once; the scores must agree."""
    videos = dataset.evaluated["val"]
    torch.manual_seed(0)
    parser = build_network("valorpp", dataset.dimensions, RECIPE)
    singles = torch.arange(EVALUATED).split(1)
    plain_parsing = timed(
        lambda: [parse_videos(parser, videos.inputs.take(one), RECIPE) for one in singles]
    )
    parsing = timed(lambda: decide(parse_videos(parser, videos.inputs, RECIPE), RECIPE))
    found = random_videos(np.random.default_rng(1), EVALUATED)[2]
    predicted = tuple(truth | other for truth, other in zip(videos.truth, found, strict=True))
    scores: dict[str, float] = {}

    def score_plainly() -> None:
        scores["plain"] = plain_segment_and_event_type(videos.truth, predicted)

    plain_scoring = timed(score_plainly)
    scoring = min(timed(lambda: score(*videos.truth, *predicted).metrics()) for _ in range(5))
    metrics = score(*videos.truth, *predicted).metrics()
    assert abs(scores["plain"] - metrics["segment"]["type"] - metrics["event"]["type"]) < 1e-9
    return [("parsing", plain_parsing, parsing), ("ten metrics", plain_scoring, scoring)]


def plain_segment_and_event_type(truth: tuple[Label, ...], predicted: tuple[Label, ...]) -> float:
    """Score video after video, class after class; return the sum of both levels' Type@AV.

    Event@AV is counted along, so that the work is that of all ten metrics.
    """
    levels = ((count_segments, []), (count_events, []))
    for video in range(len(truth[0])):
        audio, visual = ((truth[m][video].T, predicted[m][video].T) for m in (0, 1))
        both = (audio[0] & visual[0], audio[1] & visual[1])
        for count, scores in levels:
            counted = [
                [count(*lines) for lines in zip(*side, strict=True)]
                for side in (audio, visual, both)
            ]
            of_video = [mean_f1(classes) for classes in counted]
            either = zip(counted[0], counted[1], strict=True)
            of_video.append(mean_f1([(a + v, b + w) for (a, b), (v, w) in either]))
            scores.append(of_video)
    return sum(100 * float(np.mean(scores, axis=0)[:3].mean()) for _, scores in levels)


def count_segments(truth: Label, predicted: Label) -> tuple[int, int]:
    return int((truth & predicted).sum()), int(truth.sum()) + int(predicted.sum())


def count_events(truth: Label, predicted: Label) -> tuple[int, int]:
    annotated, found = runs_of(truth), runs_of(predicted)
    hits = sum(any(overlap(run, other) >= 0.5 for other in annotated) for run in found)
    return hits, len(annotated) + len(found)


def runs_of(line: Label) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(line, prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)


def mean_f1(classes: list[tuple[int, int]]) -> float:
    scores = [2 * hits / positives for hits, positives in classes if positives]
    return sum(scores) / len(scores) if scores else 1.0


def exhaust(items: Iterator[object]) -> None:
    for _ in items:
        pass


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
