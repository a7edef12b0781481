"""Score a network on the validation videos, and choose an epoch by a metric."""

from collections.abc import Mapping
from statistics import mean
from typing import Any

import torch

from pipeline.data.annotations import Labels
from pipeline.evaluation.metrics import score, score_only
from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.interface import ParserNetwork
from pipeline.parsers.prediction import parse_videos
from pipeline.parsers.recipes import Recipe, Selection
from pipeline.training.dataset import EvaluationVideos

Metrics = Mapping[str, Mapping[str, float]]


class ValidationVideos:
    """The validation videos on a device, as ``parsers.plan.Validation`` describes them."""

    def __init__(self, videos: EvaluationVideos, recipe: Recipe, device: torch.device) -> None:
        self.truth: tuple[Labels, Labels] = videos.truth
        self.recipe = recipe
        self.inputs = videos.inputs.to(device)

    def parse(self, network: ParserNetwork[Any]) -> Probabilities:
        """Return a network's probabilities."""
        return parse_videos(network, self.inputs, self.recipe)

    def metrics(self, audio: Labels, visual: Labels) -> Metrics:
        """Return the published metrics of predicted labels [N, T, C], in percent."""
        return score(*self.truth, audio, visual).metrics()

    def scores(self, network: ParserNetwork[Any], selection: Selection) -> dict[str, float]:
        """Return segment- and event-level Type@AV and the selection metric, in percent."""
        labels = decide(self.parse(network), self.recipe)
        metrics = self.metrics(*labels)
        scores = {f"val_{level}_type": metrics[level]["type"] for level in ("segment", "event")}
        if selection == "only":
            metrics = score_only(*self.truth, *labels).metrics()
        return scores | {f"val_{selection}": selected(metrics, selection)}


def selected(metrics: Metrics, selection: Selection) -> float:
    """Return the value of a selection metric, in percent.

    ``only`` reads the metrics of ``score_only``, all others those of ``score``.
    """
    if selection in ("all", "only"):
        return mean(value for level in metrics.values() for value in level.values())
    level, _, metric = selection.partition("_")
    return metrics[level][metric]
