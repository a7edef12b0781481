"""A parsed video: probabilities a second, and the events that a threshold makes of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.annotations import Labels, find_runs
from pipeline.parsers.recipes import Recipe

# Probabilities are floored, not rounded, to this many decimals: none is lifted over a threshold,
# and tables, JSON and page, which all decide from the same numbers, agree.
DECIMALS = 4

AUDIBLE, VISIBLE, BOTH = "audible", "visible", "both"


@dataclass(frozen=True)
class DecisionThresholds:
    """From which values (>=) a second and a video count.

    Attributes
    ----------
    segment, video
        θ_seg and θ_vid of the method.
    chosen
        The threshold in use; where it is not ``segment``, the video's moves by as much.
    """

    segment: float
    video: float
    chosen: float

    @classmethod
    def of(cls, recipe: Recipe, chosen: float | None) -> "DecisionThresholds":
        """Return a recipe's thresholds, or these with another one in use."""
        own = recipe.segment_threshold
        return cls(own, recipe.video_threshold, own if chosen is None else chosen)


@dataclass(frozen=True)
class Event:
    """One event of a video.

    Attributes
    ----------
    class_name
        What.
    modality
        ``audible``, ``visible`` or ``both``, which exclude each other at any second.
    onset, offset
        In seconds from the video's start.
    confidence
        Mean score of its seconds, in [0, 1]; of ``both``, of the smaller of the two.
    """

    class_name: str
    modality: str
    onset: int
    offset: int
    confidence: float


@dataclass(frozen=True)
class Parsed:
    """A parsed video of L seconds.

    Attributes
    ----------
    name
        Its name in tables, and of its folder.
    title
        Its file's name.
    class_names
        The C classes.
    probabilities : ``[2, L, C]``
        Of every second; audio, then visual; in [0, 1].
    gates : ``[2, L, C]``
        Video-level probabilities that let a class count, mean over the windows that have a second.
    thresholds
        What makes events of these.
    has_sound, has_pictures
        Which streams there are; what is not there has probability 0.
    notes
        What to know about it, one sentence each.
    provenance
        How it was parsed: a name and a value each.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    gates: NDArray[np.float64]
    thresholds: DecisionThresholds
    has_sound: bool
    has_pictures: bool
    notes: tuple[str, ...]
    provenance: Mapping[str, str]

    @property
    def length(self) -> int:
        """L."""
        return self.probabilities.shape[1]

    @property
    def scores(self) -> NDArray[np.float64]:
        """One number for both decisions, ``[2, L, C]``: min(P, gate - θ_vid + θ_seg).

        It reaches θ_seg exactly where P reaches θ_seg and the gate θ_vid, so one threshold stands
        for both, and another than θ_seg moves both. It has four decimals, as P and the gate have:
        rounding takes away what floats add to a difference, and the page's whole numbers are it.
        """
        lift = ceil_decimals(self.thresholds.segment) - ceil_decimals(self.thresholds.video)
        gates = self.gates + lift
        rounded: NDArray[np.float64] = np.minimum(self.probabilities, gates).round(DECIMALS)
        return np.clip(rounded, 0, 1)

    def labels(self) -> Labels:
        """Return the seconds that count, ``[2, L, C]`` of 0 and 1."""
        return (self.scores >= self.thresholds.chosen).astype(np.uint8)

    def events(self) -> list[Event]:
        """Return the maximal runs of one class in one modality, by onset, class and modality."""
        audio, visual = self.labels() != 0
        scores = self.scores
        kinds = {
            AUDIBLE: (audio & ~visual, scores[0]),
            VISIBLE: (visual & ~audio, scores[1]),
            BOTH: (audio & visual, scores.min(axis=0)),
        }
        found = []
        for modality, (active, values) in kinds.items():
            each = find_runs(active[None])
            for index, onset, offset in zip(
                each.class_index.tolist(), each.onset.tolist(), each.offset.tolist(), strict=True
            ):
                confidence = float(values[onset:offset, index].mean())
                found.append(Event(self.class_names[index], modality, onset, offset, confidence))
        order = {name: place for place, name in enumerate(self.class_names)}
        return sorted(found, key=lambda event: (event.onset, order[event.class_name], event.offset))


def floor_decimals(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities without their decimals after the fourth."""
    scale = 10**DECIMALS
    whole: NDArray[np.float64] = np.floor(probabilities * scale) / scale
    return whole


def ceil_decimals(threshold: float) -> float:
    """Return a threshold rounded up to four decimals; a floored value reaches both or neither."""
    scale: int = 10**DECIMALS
    # Rounded first, as 0.0007 times the scale is a little more than 7.
    return math.ceil(round(threshold * scale, DECIMALS)) / scale
