"""Turn the outputs of a trained parser into probabilities, segment labels and event tables.

Axes: N videos, T segments, C classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.arrays import number_problem
from pipeline.core.errors import PipelineError
from pipeline.core.shards import Shard, write_shard
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import Labels, segments_to_events, write_events
from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.interface import ParserInputs, ParserNetwork, Prediction
from pipeline.parsers.recipes import Recipe

# Videos per batch; inference needs little memory, so this affects speed only.
BATCH = 512


def parse_videos(parser: ParserNetwork[Any], inputs: ParserInputs, recipe: Recipe) -> Probabilities:
    """Return the probabilities of videos on the parser's device; restore its training mode.

    Raises
    ------
    PipelineError
        A probability or gate is not finite.
    """
    was_training = parser.training
    parser.eval()
    segments, gates, weights = [], [], []
    with torch.inference_mode():
        for rows in torch.arange(len(inputs), device=inputs.audio.device).split(BATCH):
            predicted = parser.predict(inputs.take(rows))
            segments.append(predicted.segments.cpu())
            gates.append(_gate(predicted, recipe).cpu())
            if predicted.attention is not None:
                weights.append(predicted.attention.cpu())
    parser.train(was_training)
    probabilities, gate = torch.cat(segments).numpy(), torch.cat(gates).numpy()
    if problem := number_problem(probabilities) or number_problem(gate):
        raise PipelineError(
            f"the parser {problem} among its probabilities: its weights are too large for these"
            " features; train it again with a lower learning_rate."
        )
    return Probabilities(
        audio=np.ascontiguousarray(probabilities[:, :, 0]),
        visual=np.ascontiguousarray(probabilities[:, :, 1]),
        gate=gate,
        attention=torch.cat(weights).numpy() if weights else None,
    )


def _gate(predicted: Prediction, recipe: Recipe) -> Tensor:
    """Return the gates [B, 2, C] that the recipe chooses."""
    both = predicted.video[:, None].expand_as(predicted.by_modality)
    if recipe.gate == "global":
        return both
    if recipe.gate == "mixed":
        return torch.stack((predicted.video, predicted.by_modality[:, 1]), dim=1)
    if recipe.gate == "either":
        return predicted.by_modality.amax(dim=1, keepdim=True).expand_as(both)
    return predicted.by_modality


def write_predictions(
    folder: Path,
    split: str,
    names: tuple[str, ...],
    probabilities: Probabilities,
    recipe: Recipe,
    vocabulary: Vocabulary,
    thresholds: NDArray[np.float64] | None = None,
) -> tuple[Labels, Labels]:
    """Write the event tables and probabilities of a split into a folder; return the labels.

    Files: ``predicted_{split}_{modality}.csv`` and ``probabilities_{split}.safetensors`` (a shard
    with ``audio``, ``visual`` [N, T, C], ``gate`` [N, 2, C] and, if the method weights segments,
    ``attention`` [N, 2, T]). ``thresholds`` are those of `decide`.
    """
    labels = decide(probabilities, recipe, thresholds)
    for modality, array in zip(MODALITIES, labels, strict=True):
        events = segments_to_events(array, names)
        write_events(folder / f"predicted_{split}_{modality}.csv", events, vocabulary)
    arrays = {
        "audio": probabilities.audio,
        "visual": probabilities.visual,
        "gate": probabilities.gate,
    }
    if probabilities.attention is not None:
        arrays["attention"] = probabilities.attention
    write_shard(folder / f"probabilities_{split}.safetensors", Shard(names, arrays))
    return labels
