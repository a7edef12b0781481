"""Predictions of every method, and of the pseudo-labels, as the report shows them.

Axes: S seeds, N videos, T segments, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.shards import ShardReader
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.evaluate import SplitPredictions
from pipeline.parsers.decision import Probabilities, decision_scores
from pipeline.report.artifacts import SPLIT_TITLES, Artifacts
from pipeline.report.tables import PSEUDO_LABEL_TITLES
from pipeline.report.trained import TrainedParser

DecisionScores = NDArray[np.float32]


@dataclass(frozen=True)
class MethodPredictions:
    """The predictions of one method for the test and validation splits.

    Attributes
    ----------
    key, name
        Its name in files, and its display name.
    seeds
        Its seeds; empty for pseudo-labels.
    by_split
        Split to the predictions of each seed, on the same videos.
    scores
        Split to one number per decision of the first seed, ``[2, N, T, C]``, audio before visual:
        a segment is positive where it reaches ``threshold``. Empty if they were not kept.
    threshold
        The method's own segment threshold.
    """

    key: str
    name: str
    seeds: tuple[int, ...]
    by_split: Mapping[str, Sequence[SplitPredictions]]
    scores: Mapping[str, DecisionScores]
    threshold: float


def every_method(artifacts: Artifacts) -> Iterator[MethodPredictions]:
    """Yield the methods, the headline's first, then the pseudo-labels; one is in memory at a time.

    Raises
    ------
    PipelineError
        A file is missing or malformed, or two seeds were scored on different videos.
    """
    headline = artifacts.headline[0].group
    for key in sorted(artifacts.parsers, key=lambda key: key != headline):
        yield _of_parsers(artifacts, artifacts.parsers[key])
    yield _of_labels(artifacts)


def _of_parsers(artifacts: Artifacts, parsers: Sequence[TrainedParser]) -> MethodPredictions:
    first = parsers[0]
    found = {split: scores_of(first, split) for split in SPLIT_TITLES}
    return MethodPredictions(
        key=first.group,
        name=first.display_name,
        seeds=tuple(parser.seed for parser in parsers),
        by_split={split: artifacts.predictions(parsers, split) for split in SPLIT_TITLES},
        scores={split: scores for split, scores in found.items() if scores is not None},
        threshold=first.recipe.segment_threshold,
    )


def _of_labels(artifacts: Artifacts) -> MethodPredictions:
    def of_split(split: str) -> list[SplitPredictions]:
        labels = artifacts.pseudo_labels(split)
        return [SplitPredictions(artifacts.names(split), artifacts.truth(split), labels)]

    title = PSEUDO_LABEL_TITLES[artifacts.label_kind]
    splits = {split: of_split(split) for split in SPLIT_TITLES}
    return MethodPredictions("pseudo_labels", title, (), splits, {}, 0.5)


def scores_of(parser: TrainedParser, split: str) -> DecisionScores | None:
    """Return the scores of `decision.decision_scores`; None if the folder lacks a probability."""
    with ShardReader(parser.folder / f"probabilities_{split}.safetensors") as shard:
        if not {*MODALITIES, "gate"} <= set(shard.keys):
            return None
        arrays = {key: shard.array(key) for key in (*MODALITIES, "gate")}
    return decision_scores(Probabilities(**arrays), parser.recipe)
