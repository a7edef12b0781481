"""A parsed video: probabilities per second, and the events that a threshold makes of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, Status
from pipeline.core.vocabulary import MODALITIES
from pipeline.core.wording import counted
from pipeline.data.annotations import Labels, find_runs
from pipeline.parsers.recipes import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.inference.videos import MediaFacts

# Probabilities are floored, not rounded, to this many decimals: none is lifted over a threshold,
# and tables, JSON and page, which all decide from the same numbers, agree.
DECIMALS = 4
# The largest media that a page embeds.
EMBED_BYTES = 24 << 20

AUDIBLE, VISIBLE, BOTH = "audible", "visible", "both"


@dataclass(frozen=True)
class DecisionThresholds:
    """The values (>=) from which a second and a video count.

    Attributes
    ----------
    segment, video
        θ_seg and θ_vid of the method.
    chosen
        The threshold in use. Where it differs from ``segment``, θ_vid moves by the same amount.
    """

    segment: float
    video: float
    chosen: float

    @classmethod
    def of(cls, recipe: Recipe, chosen: float | None) -> "DecisionThresholds":
        """Return a recipe's thresholds, with another one in use if ``chosen`` is given."""
        own = recipe.segment_threshold
        return cls(own, recipe.video_threshold, own if chosen is None else chosen)


@dataclass(frozen=True)
class Event:
    """One event of a video.

    Attributes
    ----------
    label
        Name of the class.
    modality
        ``audible``, ``visible`` or ``both``; exactly one of them at any second.
    onset, offset
        Start and end in seconds from the start of the video.
    confidence
        Mean score over the event's seconds, in [0, 1]; for ``both``, of the lower of the two.
    """

    label: str
    modality: str
    onset: int
    offset: int
    confidence: float


@dataclass(frozen=True, eq=False, repr=False)
class Parsed:
    """A parsed video of T seconds and C classes.

    Attributes
    ----------
    name
        Its name in tables, and the name of its folder.
    title
        Name of its file.
    path
        Its file.
    media
        Streams of the file.
    class_names
        The C classes.
    probabilities
        ``audio`` and ``visual`` to ``(T, C)`` float32 in [0, 1]; 0 where there is no such stream.
    gates
        Video-level probabilities that let a class count, ``(T, C)`` float32 per modality: the mean
        over the windows that contain a second.
    thresholds
        What decides which seconds are events.
    has_sound, has_pictures
        Which streams were parsed.
    notes
        What to know about the result, one sentence each.
    provenance
        How the video was parsed, as names and values.
    status
        ``ok``, or the first problem of a video that was parsed nevertheless.
    seconds
        ``audio`` and ``visual`` to how many seconds were parsed.
    notice
        What must be said of the encoders; empty if nothing must.
    """

    name: str
    title: str
    path: Path
    media: "MediaFacts"
    class_names: tuple[str, ...]
    probabilities: Mapping[str, NDArray[np.float32]]
    gates: Mapping[str, NDArray[np.float32]]
    thresholds: DecisionThresholds
    has_sound: bool
    has_pictures: bool
    notes: tuple[str, ...]
    provenance: Mapping[str, str]
    status: Status
    seconds: Mapping[str, float]
    notice: str = ""

    def __repr__(self) -> str:
        return f"Parsed({self.title!r}, {self.length} s, {counted(len(self.events), 'event')})"

    @property
    def length(self) -> int:
        """T, the number of seconds."""
        return len(self.probabilities[MODALITIES[0]])

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """One number for both decisions, ``[2, T, C]``: min(P, gate - θ_vid + θ_seg).

        Audio comes first. A score reaches θ_seg exactly where P reaches θ_seg and the gate reaches
        θ_vid, so one threshold stands for both, and changing it moves both. Scores have four
        decimals, as P and the gates do: rounding removes what floating-point subtraction adds, and
        the page stores scores as whole numbers.
        """
        lift = ceil_decimals(self.thresholds.segment) - ceil_decimals(self.thresholds.video)
        probabilities, gates = (
            np.stack([values[modality].astype(np.float64) for modality in MODALITIES])
            for values in (self.probabilities, self.gates)
        )
        rounded: NDArray[np.float64] = np.minimum(probabilities, gates + lift).round(DECIMALS)
        return np.clip(rounded, 0, 1)

    @property
    def labels(self) -> Labels:
        """The seconds that count, ``[2, T, C]`` of 0 and 1; audio comes first."""
        return (self.scores >= self.thresholds.chosen).astype(np.uint8)

    @cached_property
    def events(self) -> list[Event]:
        """The longest runs of one class in one modality, by onset, class and offset."""
        audio, visual = self.labels != 0
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
                confidence = mean_confidence(values[onset:offset, index])
                found.append(Event(self.class_names[index], modality, onset, offset, confidence))
        order = {name: index for index, name in enumerate(self.class_names)}
        return sorted(found, key=lambda event: (event.onset, order[event.label], event.offset))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the events as a table, one row per event, in the columns of ``Event``."""
        import pandas as pd

        columns = list(Event.__dataclass_fields__)
        return pd.DataFrame([vars(event) for event in self.events], columns=columns)

    def save(self, folder: str | Path, embed_mb: float = EMBED_BYTES / (1 << 20)) -> Path:
        """Write what ``avvp parse`` writes: tables, WebVTT, ELAN, Audacity and the page.

        Parameters
        ----------
        folder
            Output directory; created if it does not exist.
        embed_mb
            The page embeds the video up to this size in MB; a larger one is linked beside it.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        PipelineError
            The folder cannot be written.
        """
        from pipeline.inference.input_files import PAGE_FILE
        from pipeline.inference.outputs import write_outputs

        write_outputs(Path(folder), self, int(embed_mb * (1 << 20)))
        return Path(folder) / PAGE_FILE


def check_threshold(threshold: float | None) -> None:
    """Check a threshold that a user chose.

    Raises
    ------
    PipelineError
        It is not between 0 and 1.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise PipelineError(f"threshold is {threshold:g}; it must be between 0 and 1 (exclusive).")


def mean_confidence(scores: NDArray[np.float64]) -> float:
    """Return the mean of an event's scores, computed and rounded as the page does it."""
    scale: int = 10**DECIMALS
    whole = float(np.rint(scores * scale).sum())
    return _round_half_up(whole / len(scores) / scale, DECIMALS)


def two_decimals(confidence: float) -> str:
    """Return a confidence as people read it; halves are rounded up, as the page does it."""
    return f"{_round_half_up(confidence, 2):.2f}"


def _round_half_up(value: float, decimals: int) -> float:
    scale: int = 10**decimals
    return math.floor(value * scale + 0.5) / scale


def floor_decimals(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities without the decimals after the fourth."""
    scale = 10**DECIMALS
    whole: NDArray[np.float64] = np.floor(probabilities * scale) / scale
    return whole


def ceil_decimals(threshold: float) -> float:
    """Return a threshold rounded up to four decimals; a floored value reaches both or neither."""
    scale: int = 10**DECIMALS
    # Rounded first, as 0.0007 times the scale is a little more than 7.
    return math.ceil(round(threshold * scale, DECIMALS)) / scale
