"""Decision thresholds that differ between classes: their search, and how a network realises them.

Axes: N videos, T segments, C classes.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.data.annotations import Labels
from pipeline.parsers.decision import Probabilities, decide
from pipeline.parsers.recipes import Recipe


def moved_threshold(probabilities: Tensor, thresholds: Tensor, target: float) -> Tensor:
    """Return probabilities moved so that ``target`` decides as ``thresholds`` did before.

    Piecewise linear and increasing: 0 stays 0, each threshold becomes ``target``, 1 stays 1. One
    threshold for all classes is then enough for tables, pages and sliders.

    Parameters
    ----------
    probabilities
        In [0, 1], any shape.
    thresholds
        In (0, 1), of a shape that broadcasts to theirs.
    target
        In (0, 1).
    """
    old = thresholds.to(probabilities)
    new = probabilities.new_tensor(target)
    below = probabilities * (new / old)
    above = new + (probabilities - old) * ((1 - new) / (1 - old))
    # Rounding must not carry a probability over the threshold.
    just_below = torch.nextafter(new, torch.zeros_like(new))
    is_at_least = probabilities >= old
    moved = torch.where(is_at_least, above.clamp(max=1), torch.minimum(below, just_below))
    return torch.where(old == new, probabilities, moved)


def searched_visual_thresholds(
    probabilities: Probabilities,
    recipe: Recipe,
    candidates: Sequence[float],
    score: Callable[[Labels, Labels], float],
) -> Tensor:
    """Return each class's video-level visual threshold with the best score [C], float64.

    Each class is searched on its own, with the recipe's threshold for all others; of equally good
    candidates the last one is taken.

    Parameters
    ----------
    probabilities
        Probabilities of the videos searched on.
    recipe
        Its thresholds and gate.
    candidates
        Thresholds to try.
    score
        Score of predicted labels [N, T, C] of audio and visual; higher is better.
    """
    audio, visual = decide(probabilities, recipe)
    segments = probabilities.visual >= recipe.segment_threshold
    gates = probabilities.gate[:, 1]
    best = []
    for label in range(visual.shape[2]):
        known: dict[bytes, float] = {}
        scores = []
        for candidate in candidates:
            changed = visual.copy()
            is_open = gates[:, label] >= candidate
            changed[:, :, label] = segments[:, :, label] & is_open[:, None]
            # Neighbouring candidates often decide alike.
            key = is_open.tobytes()
            if key not in known:
                known[key] = score(audio, changed)
            scores.append(known[key])
        best.append(candidates[len(scores) - 1 - int(np.argmax(scores[::-1]))])
    return torch.tensor(best, dtype=torch.float64)
