"""Random features and labels of LLP's size, for a method's training."""

from dataclasses import replace

import torch
from bench_training import random_dataset
from harness import REHEARSAL

from pipeline.parsers.interface import Dimensions, ParserInputs
from pipeline.parsers.recipes import Recipe
from pipeline.training.dataset import TrainingData

TRAIN, VAL = (80, 20) if REHEARSAL else (10_000, 649)
# CLAP's and CLIP's captions.
TEXTS = {"audio": 512, "visual": 768}
# What a rehearsal makes of a method.
SMALL = {"width": 32, "layers": 1, "heads": 2, "feedforward": 32}


def options(**changes: object) -> dict[str, object]:
    """Return a method's options: its own, but for the changes; in a rehearsal small ones."""
    return {**(SMALL if REHEARSAL else {}), **changes}


def llp_data(recipe: Recipe, train_videos: int = TRAIN, val_videos: int = VAL) -> TrainingData:
    """Return data of LLP's size: 10,000 videos to train on, 649 to validate on."""
    data = random_dataset(train_videos, val_videos)
    if not recipe.uses_prior:
        return data
    val = data.evaluated["val"]
    train = replace(data.train, inputs=with_prior(data.train.inputs, data.train.targets.pseudo))
    truth = tuple(torch.from_numpy(labels).float() for labels in val.truth)
    evaluated = {"val": replace(val, inputs=with_prior(val.inputs, truth))}
    sizes = data.dimensions
    dimensions = Dimensions(
        sizes.audio, sizes.visual, 0, TEXTS["audio"], TEXTS["visual"], sizes.segments, sizes.classes
    )
    return replace(data, train=train, evaluated=evaluated, dimensions=dimensions)


def first_of(data: TrainingData, videos: int) -> TrainingData:
    """Return the same data with its first training videos only."""
    rows = torch.arange(min(videos, len(data.train.inputs)))
    train = replace(
        data.train, inputs=data.train.inputs.take(rows), targets=data.train.targets.take(rows)
    )
    return replace(data, train=train)


def with_prior(inputs: ParserInputs, labels: tuple[torch.Tensor, ...]) -> ParserInputs:
    """Return inputs that have labels as a prior, and texts of the classes."""
    random = torch.Generator().manual_seed(0)
    texts = [
        torch.nn.functional.normalize(torch.randn(labels[0].shape[-1], size, generator=random))
        for size in TEXTS.values()
    ]
    return replace(
        inputs,
        prior_audio=labels[0],
        prior_visual=labels[1],
        text_audio=texts[0],
        text_visual=texts[1],
    )
