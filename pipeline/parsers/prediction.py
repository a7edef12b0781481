"""From a trained parser to events: probabilities, the decision rule, event tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.shards import Shard, write_shard
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.data.annotations import Labels, segments_to_events, write_events
from pipeline.parsers.interface import ParserInputs, ParserNetwork
from pipeline.parsers.recipes import Recipe

# Videos parsed at once; parsing needs little memory, so this is about speed only.
BATCH = 512


@dataclass(frozen=True)
class Probabilities:
    """What a parser says of N videos.

    Attributes
    ----------
    audio, visual
        Segment probabilities P^m [N, T, C] in [0, 1].
    gate
        Video-level probabilities [N, 2, C] that let a class count, audio first.
    attention
        Weights of segments [N, 2, T] in (0, 1), audio first, of a method that has them.
    """

    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    gate: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None


def parse_videos(parser: ParserNetwork, inputs: ParserInputs, recipe: Recipe) -> Probabilities:
    """Run a parser over videos that lie on its device; its mode is left as it was."""
    was_training = parser.training
    parser.eval()
    segments, gates, weights = [], [], []
    with torch.inference_mode():
        for rows in torch.arange(len(inputs), device=inputs.audio.device).split(BATCH):
            output = parser(inputs.take(rows))
            segments.append(output.logits.sigmoid().cpu())
            own = (output.audio_video, output.visual_video)
            of_audio = own[0] if recipe.gate == "modality" else output.video
            of_visual = output.video if recipe.gate == "global" else own[1]
            gates.append(torch.stack((of_audio, of_visual), dim=1).cpu())
            if output.audio_attention is not None and output.visual_attention is not None:
                attention = output.audio_attention, output.visual_attention
                weights.append(torch.stack(attention, dim=1).cpu())
    parser.train(was_training)
    probabilities = torch.cat(segments).numpy()
    return Probabilities(
        audio=np.ascontiguousarray(probabilities[:, :, 0]),
        visual=np.ascontiguousarray(probabilities[:, :, 1]),
        gate=torch.cat(gates).numpy(),
        attention=torch.cat(weights).numpy() if weights else None,
    )


def decide(probabilities: Probabilities, recipe: Recipe) -> tuple[Labels, Labels]:
    """Return the segments that count [N, T, C], of audio and of visual.

    Both thresholds are inclusive, ``P >= θ_seg`` and ``gate >= θ_vid``, as in the evaluators that
    HAN and its followers released.
    """
    open_gates = probabilities.gate >= recipe.video_threshold
    audio, visual = (
        ((segments >= recipe.segment_threshold) & open_gates[:, index, None]).astype(np.uint8)
        for index, segments in enumerate((probabilities.audio, probabilities.visual))
    )
    return audio, visual


def write_predictions(
    folder: Path,
    split: str,
    names: tuple[str, ...],
    probabilities: Probabilities,
    recipe: Recipe,
    vocabulary: Vocabulary,
) -> tuple[Labels, Labels]:
    """Write a split's event tables and probabilities into a folder; return the labels.

    Files: ``predicted_{split}_{modality}.csv`` and ``probabilities_{split}.safetensors`` (a shard
    with ``audio``, ``visual`` [N, T, C], ``gate`` [N, 2, C] and, of a method that weighs segments,
    ``attention`` [N, 2, T]).
    """
    labels = decide(probabilities, recipe)
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
