"""From probabilities to segment labels: what a parser's two thresholds decide.

Axes: N videos, T segments, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.annotations import Labels
from pipeline.parsers.recipes import Recipe


@dataclass(frozen=True)
class Probabilities:
    """Predicted probabilities of N videos.

    Attributes
    ----------
    audio, visual
        Segment probabilities P^m [N, T, C] in [0, 1].
    gate
        Video-level probabilities [N, 2, C], audio first; they gate the segment predictions.
    attention
        Segment weights [N, 2, T] in (0, 1), audio first; None if the method does not weight
        segments.
    """

    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    gate: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None


def decide(
    probabilities: Probabilities, recipe: Recipe, thresholds: NDArray[np.float64] | None = None
) -> tuple[Labels, Labels]:
    """Return predicted segment labels [N, T, C] of audio and visual.

    A segment is positive if ``P >= θ_seg`` and ``gate >= θ_vid``. Both thresholds are inclusive,
    as in the released evaluators of HAN and its successors.

    Parameters
    ----------
    probabilities
        Of N videos.
    recipe
        Its thresholds are θ_seg and θ_vid.
    thresholds : ``[2, C]``
        In place of θ_seg, by modality and class; θ_vid moves by the same amounts, as in `parse`.
    """
    own = recipe.segment_threshold
    chosen = np.full((2, 1), own) if thresholds is None else thresholds
    # In the precision of the probabilities, so that a threshold reaches its own value.
    segment, video = (
        values.astype(np.float32) for values in (chosen, recipe.video_threshold + (chosen - own))
    )
    open_gates = probabilities.gate >= video
    audio, visual = (
        ((segments >= segment[index]) & open_gates[:, index, None]).astype(np.uint8)
        for index, segments in enumerate((probabilities.audio, probabilities.visual))
    )
    return audio, visual


def decision_scores(probabilities: Probabilities, recipe: Recipe) -> NDArray[np.float32]:
    """Return ``min(P, g - θ_vid + θ_seg)``, one number for both decisions [2, N, T, C].

    Audio comes first. It reaches θ_seg exactly where `decide` says yes, so that one threshold
    stands for both, and changing it moves both.
    """
    segment, video = np.float32(recipe.segment_threshold), np.float32(recipe.video_threshold)
    gate = probabilities.gate.transpose(1, 0, 2)[:, :, None]
    lifted = gate + np.float32(recipe.segment_threshold - recipe.video_threshold)
    # Rounding must not carry a gate over the threshold, nor below it.
    below = np.nextafter(segment, np.float32(0))
    lifted = np.where(gate >= video, np.maximum(lifted, segment), np.minimum(lifted, below))
    scores: NDArray[np.float32] = np.minimum(
        np.stack((probabilities.audio, probabilities.visual)), lifted
    )
    return scores
