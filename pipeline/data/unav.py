"""Read UnAV-100's annotations (Geng et al., CVPR 2023): events that are both heard and seen.

Its JSON file maps ``database`` to video id to ``duration`` in seconds, ``subset`` (``train``,
``validation`` or ``test``) and ``annotations``, each with ``segment`` [start, end] in seconds,
``label`` and ``label_id``. Any densely labelled dataset in this format can be read.
Axes: T seconds, C classes.
"""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file
from pipeline.core.validation import sentence
from pipeline.data.annotations import Labels

logger = logging.getLogger(__name__)

# A day: longer durations are mistakes, and take memory.
MOST_SECONDS = 86_400


class _Annotation(BaseModel):
    segment: tuple[FiniteFloat, FiniteFloat]
    label: str
    label_id: int = Field(ge=0, lt=10_000)


class _Video(BaseModel):
    duration: FiniteFloat = Field(gt=0, le=MOST_SECONDS)
    subset: Literal["train", "validation", "test"]
    annotations: list[_Annotation] = []


class _AnnotationFile(BaseModel):
    database: dict[str, _Video]


@dataclass(frozen=True)
class DenseVideo:
    """A densely annotated video.

    Attributes
    ----------
    subset
        ``train``, ``validation`` or ``test``.
    seconds
        T, the duration rounded up.
    events
        Start and end in seconds, and class index.
    """

    subset: str
    seconds: int
    events: tuple[tuple[float, float, int], ...]

    def labels(self, classes: int) -> Labels:
        """Return labels of seconds ``[T, C]`` in {0, 1}.

        An event covers the seconds from floor(start) to ceil(end), exclusive. Source: UWAV (Lai et
        al., CVPR 2025), released code.
        """
        labels = np.zeros((self.seconds, classes), np.uint8)
        for start, end, index in self.events:
            labels[_seconds(start, end), index] = 1
        return labels

    def sets_nothing(self, event: tuple[float, float, int]) -> bool:
        """Return whether an event covers no second of the video."""
        return not range(self.seconds)[_seconds(event[0], event[1])]


def _seconds(start: float, end: float) -> slice:
    return slice(max(0, math.floor(start)), max(0, math.ceil(end)))


@dataclass(frozen=True)
class DenseAnnotations:
    """Labels of the classes that occur, by index, and videos by id."""

    labels: Mapping[int, str]
    videos: Mapping[str, DenseVideo]


def read_unav(path: Path) -> DenseAnnotations:
    """Read a file of annotations.

    Raises
    ------
    PipelineError
        The file is missing or malformed, a class has two labels, or no event lies in its video.
    """
    content = existing_file(path, "the dense annotations").read_bytes()
    try:
        database = _AnnotationFile.model_validate_json(content).database
    except ValidationError as error:
        problem = sentence(error, _AnnotationFile, "key").rstrip(".")
        raise PipelineError(
            f"'{path}' is not in UnAV-100's format ({problem}); check the file."
        ) from None
    labels: dict[int, str] = {}
    for video in database.values():
        for event in video.annotations:
            if labels.setdefault(event.label_id, event.label) != event.label:
                raise PipelineError(
                    f"'{path}' calls class {event.label_id} both '{labels[event.label_id]}' and"
                    f" '{event.label}'; give every class one label."
                )
    videos = {
        name: DenseVideo(
            video.subset,
            math.ceil(video.duration),
            tuple((*event.segment, event.label_id) for event in video.annotations),
        )
        for name, video in database.items()
    }
    _warn_of_lost_events(path, videos)
    return DenseAnnotations(labels, videos)


def _warn_of_lost_events(path: Path, videos: Mapping[str, DenseVideo]) -> None:
    """Log the events that cover no second of their video.

    Raises
    ------
    PipelineError
        None of the events does.
    """
    events = [(name, event) for name, video in videos.items() for event in video.events]
    lost = [(name, event) for name, event in events if videos[name].sets_nothing(event)]
    if not lost:
        return
    name, (start, end, _) = lost[0]
    example = f"such as {start:g} to {end:g} of '{name}', which lasts {videos[name].seconds} s"
    if len(lost) == len(events):
        raise PipelineError(
            f"no event in '{path}' lies within its video, {example}; give times in seconds from the"
            " video's start."
        )
    logger.warning(
        "%d of the %d events in '%s' cover no second of their video and are ignored, %s",
        *(len(lost), len(events), path, example),
    )


def class_name(label: str) -> str:
    """Return a label as a class name of a vocabulary, which has no spaces or commas."""
    return re.sub(r"[\s,]+", "_", label.strip())
