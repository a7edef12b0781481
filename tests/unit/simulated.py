"""Simulated videos: class prototypes plus noise, labels in LLP's proportions.

Pseudo-labels come from the same features, as in the pipeline: a segment is labelled with the
classes whose prototype it resembles most; masked with the weak labels they are better, not true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from pipeline.core.shards import Shard, write_shard
from pipeline.core.vocabulary import MODALITIES, EventClass, Vocabulary
from pipeline.data.annotations import EVENT_TABLES, SPLIT_TABLES, segments_to_events, write_events
from pipeline.labels.pseudo_labels import soften
from pipeline.parsers.interface import Dimensions, ParserInputs, ParserTargets
from pipeline.parsers.losses import class_frequencies, with_temperature
from pipeline.parsers.recipes import Recipe
from pipeline.training.dataset import EvaluationVideos, TrainingData, TrainingVideos

AUDIO, VISUAL = 32, 40
# A segment has a label where its cosine with the prototype is above this; soft labels are
# sigmoids of the distance, on the scale of CLAP's logits.
THRESHOLD, LOGIT_SCALE = 0.3, 20.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """What all simulated videos share: one prototype a class and modality, and the text that is
    to name it (equal where captions are perfect), all L2-normalised."""

    audio: Array
    visual: Array
    texts: tuple[Array, Array]

    @property
    def classes(self) -> int:
        return len(self.audio)

    def dimensions(self, segments: int = 10) -> Dimensions:
        return Dimensions(AUDIO, VISUAL, 0, AUDIO, VISUAL, segments, self.classes)


def make_world(classes: int = 8, seed: int = 0, caption_error: float = 0.0) -> World:
    random = np.random.default_rng(seed)
    audio = _unit(random.standard_normal((classes, AUDIO)))
    visual = _unit(random.standard_normal((classes, VISUAL)))
    texts = [
        _unit(prototypes + caption_error * _unit(random.standard_normal(prototypes.shape)))
        for prototypes in (audio, visual)
    ]
    return World(audio, visual, (texts[0], texts[1]))


@dataclass(frozen=True)
class Videos:
    """N simulated videos: truth, pseudo-labels, those that are a prior, and soft ones [N, T, C],
    weak labels [N, C], features."""

    truth: tuple[Array, Array]
    pseudo: tuple[Array, Array]
    prior: tuple[Array, Array]
    soft: tuple[Array, Array]
    weak: Array
    features: tuple[Array, Array]

    def inputs(self, world: World, masked: bool = False) -> ParserInputs:
        """What a parser sees; the prior masked with the weak labels only where that is wanted."""
        prior = [array * self.weak[:, None] if masked else array for array in self.prior]
        return ParserInputs(
            *(torch.from_numpy(array) for array in self.features),
            None,
            *(torch.from_numpy(array) for array in prior),
            *(torch.from_numpy(texts) for texts in world.texts),
        )

    def targets(self, recipe: Recipe) -> ParserTargets:
        """What losses see, as a recipe asks for it."""
        own = self.soft if recipe.uses_soft_labels else self.pseudo
        labels = [torch.from_numpy(array) for array in own]
        if recipe.uses_soft_labels:
            labels = [with_temperature(array, recipe.label_temperature) for array in labels]
        masked = [array * torch.from_numpy(self.weak[:, None]) for array in labels]
        frequencies = [class_frequencies(array) for array in masked]
        return ParserTargets(torch.from_numpy(self.weak), *masked, *frequencies)


def simulate(
    world: World, videos: int, seed: int, noise: float = 1.6, segments: int = 10
) -> Videos:
    """Simulate videos: 1-3 events each, most of them heard, about two thirds seen (LLP's weak
    labels: 40 % of training videos have one label, 59 % two)."""
    random = np.random.default_rng(seed)
    truth = np.zeros((2, videos, segments, world.classes), np.float32)
    for video in range(videos):
        count = random.choice([1, 2, 3], p=[0.40, 0.59, 0.01])
        for label in random.choice(world.classes, count, replace=False):
            heard, seen = _modalities(random)
            for modality, present in enumerate((heard, seen)):
                if present:
                    onset = random.integers(0, segments - 2)
                    offset = random.integers(onset + 2, segments + 1)
                    truth[modality, video, onset:offset, label] = 1
    return observe(world, truth, random, noise)


def observe(
    world: World,
    truth: Array,
    random: np.random.Generator,
    noise: float,
    view_noise: float = 0.0,
    threshold: float = THRESHOLD,
) -> Videos:
    """See and hear what happens, [2, N, T, C], with noise; labels come from a view of the features
    that may have noise of its own, and from a threshold that may be another than the prior's."""
    videos, segments = truth.shape[1:3]
    features, pseudo, prior, soft = [], [], [], []
    for prototypes, texts, labels in zip(
        (world.audio, world.visual), world.texts, truth, strict=True
    ):
        background = random.standard_normal((videos, 1, prototypes.shape[1]))
        noisy = random.standard_normal((videos, segments, prototypes.shape[1]))
        clutter = (0.5 * background + noisy) * noise / np.sqrt(prototypes.shape[1])
        feature = _unit(labels @ prototypes + clutter)
        features.append(feature)
        view = feature + view_noise * _unit(random.standard_normal(feature.shape))
        cosine = _unit(view) @ texts.T
        pseudo.append((cosine > threshold).astype(np.float32))
        prior.append((cosine > THRESHOLD).astype(np.float32))
        soft.append(soften(LOGIT_SCALE * cosine, np.array(LOGIT_SCALE * threshold)))
    return Videos(
        truth=(truth[0], truth[1]),
        pseudo=(pseudo[0], pseudo[1]),
        prior=(prior[0], prior[1]),
        soft=(soft[0], soft[1]),
        weak=truth.max(axis=(0, 2)),
        features=(features[0], features[1]),
    )


def _modalities(random: np.random.Generator) -> tuple[bool, bool]:
    heard, seen = [(True, True), (True, False), (False, True)][
        random.choice(3, p=[0.55, 0.35, 0.10])
    ]
    return heard, seen


def _unit(array: NDArray[np.float64] | Array) -> Array:
    unit: Array = (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)
    return unit


NAMES = {"train": "t", "val": "v", "test": "e"}


def names_of(split: str, videos: int) -> tuple[str, ...]:
    return tuple(f"{NAMES[split]}{row:010d}_0_10" for row in range(videos))


def make_vocabulary(classes: int) -> Vocabulary:
    return Vocabulary(
        tuple(
            EventClass(
                name=f"Class_{index}",
                visual_caption=f"a picture of {index}.",
                audio_caption=f"a sound of {index}",
                visual_threshold=0.3,
                audio_threshold=0.3,
            )
            for index in range(classes)
        )
    )


def make_dataset(
    world: World,
    train: int = 32,
    evaluated: int = 24,
    seed: int = 0,
    noise: float = 1.6,
    recipe: Recipe | None = None,
) -> TrainingData:
    """A dataset as training reads it; its splits have different videos of the same world."""
    counts = {"train": train, "val": evaluated, "test": evaluated}
    videos = {
        split: simulate(world, count, seed=10 * seed + number, noise=noise)
        for number, (split, count) in enumerate(counts.items())
    }
    return assemble(world, videos, recipe or Recipe())


def assemble(world: World, videos: Mapping[str, Videos], recipe: Recipe) -> TrainingData:
    """Make a dataset of the videos of train, val and test; only the first have targets."""
    names = {split: names_of(split, len(some.weak)) for split, some in videos.items()}
    learnt = videos["train"]
    inputs = learnt.inputs(world, recipe.masks_training_prior)
    evaluated = {}
    for split in ("val", "test"):
        audio, visual = videos[split].truth
        truth = audio.astype(np.uint8), visual.astype(np.uint8)
        seen = videos[split].inputs(world)
        evaluated[split] = EvaluationVideos(split, names[split], seen, truth)
    return TrainingData(
        train=TrainingVideos(names["train"], inputs, learnt.targets(recipe)),
        evaluated=evaluated,
        dimensions=world.dimensions(),
        vocabulary=make_vocabulary(world.classes),
        fingerprints={"clip": "simulated", "clap": "simulated"},
    )


@dataclass(frozen=True)
class Corpus:
    """A simulated corpus on disk, as the stages before training leave it."""

    folder: Path

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def labels(self) -> Path:
        return self.folder / "pseudo_labels" / "labels.safetensors"

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations"

    @property
    def vocabulary(self) -> Path:
        return self.folder / "vocabulary.yaml"

    def words(self) -> list[str]:
        """Arguments that ``train`` and ``predict`` share."""
        return [
            *("--features", str(self.features), "--annotations", str(self.annotations)),
            *("--vocabulary", str(self.vocabulary), "--device", "cpu", "--threads", "1"),
        ]


def write_corpus(folder: Path, world: World, train: int = 24, evaluated: int = 12) -> Corpus:
    """Write features (two shards an encoder), prompts, pseudo-labels and annotation tables."""
    corpus = Corpus(folder)
    vocabulary = make_vocabulary(world.classes)
    classes = [event_class.model_dump() for event_class in vocabulary.classes]
    folder.mkdir(parents=True, exist_ok=True)
    corpus.vocabulary.write_text(yaml.safe_dump({"classes": classes}))
    names: list[str] = []
    parts: list[Videos] = []
    for seed, (split, table) in enumerate(SPLIT_TABLES.items()):
        videos = simulate(world, train if split == "train" else evaluated, seed)
        parts.append(videos)
        names += names_of(split, len(videos.weak))
        write_weak_table(corpus.annotations / table, names_of(split, len(videos.weak)), videos.weak)
    evaluated_names = names[train:]
    for modality, index in (("audio", 0), ("visual", 1)):
        truth = np.concatenate([videos.truth[index] for videos in parts[1:]])
        events = segments_to_events(truth, evaluated_names)
        write_events(corpus.annotations / EVENT_TABLES[modality], events, vocabulary)
    write_features(corpus, world, names, parts)
    write_labels(corpus, names, parts)
    return corpus


def write_weak_table(path: Path, names: Sequence[str], weak: Array) -> None:
    lines = ["filename\tevent_labels"]
    for name, row in zip(names, weak, strict=True):
        lines.append(f"{name}\t{','.join(f'Class_{index}' for index in np.flatnonzero(row))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_features(
    corpus: Corpus, world: World, names: Sequence[str], parts: Sequence[Videos]
) -> None:
    for kind, index, texts in (("clap", 0, world.audio), ("clip", 1, world.visual)):
        features = np.concatenate([videos.features[index] for videos in parts])
        meta = {"encoder": kind, "fingerprint": f"{kind}-simulated"}
        for shard in range(2):
            arrays = {"embedding": features[shard::2]}
            if kind == "clap":
                arrays["map"] = 2 * features[shard::2]
            path = corpus.features / f"{kind}-0123456789" / f"{shard + 1}-of-2.safetensors"
            write_shard(path, Shard(tuple(names[shard::2]), arrays, meta))
        prompts = Shard(
            make_vocabulary(world.classes).names, {"text": texts}, {"logit_scale": "1.0"}
        )
        write_shard(corpus.features / f"{kind}-0123456789" / "prompts.safetensors", prompts)


def write_labels(corpus: Corpus, names: Sequence[str], parts: Sequence[Videos]) -> None:
    weak = np.concatenate([videos.weak for videos in parts])[:, None]
    arrays = {}
    for index, modality in enumerate(MODALITIES):
        labels = np.concatenate([videos.pseudo[index] for videos in parts])
        arrays[modality] = labels.astype(np.uint8)
        arrays[f"{modality}_masked"] = (labels * weak).astype(np.uint8)
        arrays[f"{modality}_soft"] = np.concatenate([videos.soft[index] for videos in parts])
    order = np.argsort(np.array(names))
    shard = Shard(
        tuple(names[row] for row in order),
        {key: array[order] for key, array in arrays.items()},
        {"clip": "clip-simulated", "clap": "clap-simulated"},
    )
    write_shard(corpus.labels, shard)
