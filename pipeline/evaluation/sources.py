"""Scores of predicted events, whether events and annotations are tables or arrays."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.arrays import label_problem
from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import MODALITIES, Vocabulary
from pipeline.core.wording import counted
from pipeline.data.annotations import read_events, read_names
from pipeline.data.corrections import Corrections
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.evaluate import corrected_tables, evaluate_labels, warn_of_unknown
from pipeline.evaluation.tables import (
    ScoredTable,
    Side,
    check_scored,
    score_events,
    stacked_labels,
    unscored_counts,
    warn_of_unscored,
)

# A table of events, or labels of N videos, (N, T, C).
EventSource = str | Path | NDArray[Any]


def evaluate_events(
    videos: str | Path | Sequence[str] | None,
    truth: tuple[EventSource, EventSource],
    predicted: tuple[EventSource, EventSource],
    vocabulary: Vocabulary,
    segments: int = 10,
    parsed: ParsedVideos | None = None,
    corrections: Corrections | None = None,
) -> dict[str, Any]:
    """Score predicted events against annotated ones, as LLP's published evaluator does.

    Parameters
    ----------
    videos
        A table whose ``filename`` column lists the videos to score, with or without events, or
        their names in the order of the arrays; None: everything is arrays. The split is named after
        the file, without ``AVVP_`` and the extension.
    truth, predicted : ``(audio, visual)``
        Event tables, or arrays ``(N, T, C)`` of 0 and 1. Events of other videos, before 0 or after
        the last segment are not scored; they are logged and counted in ``unscored``.
    vocabulary
        The C classes.
    segments
        T, segments per video (LLP: 10), if everything is tables.
    parsed, corrections
        See ``evaluate_labels``.

    Returns
    -------
    dict
        See ``evaluate_labels``.

    Raises
    ------
    PipelineError
        A table is missing or malformed, no video is listed, an array has other values than 0 and 1,
        shapes, videos and classes do not fit together, none of the predicted or annotated events is
        scored, no corrected video is listed, or a listed video was not parsed.
    """
    annotated, found = _sources("truth", truth), _sources("predicted", predicted)
    arrays = [source for source in (*annotated, *found) if not isinstance(source, Path)]
    names = _names(videos, len(arrays[0]) if arrays else None)
    size = _size([array.shape for array in arrays], len(names), segments, len(vocabulary))
    tables = [
        *_scored("truth", annotated, names, size, vocabulary),
        *_scored("predicted", found, names, size, vocabulary),
    ]
    labels = stacked_labels(tables)
    where = split = "videos"
    if isinstance(videos, str | Path):
        where, split = f"'{videos}'", Path(videos).stem.removeprefix("AVVP_")
    if corrections is not None:
        warn_of_unknown(corrections, names, where)
        tables += corrected_tables(corrections, names, size)
    warn_of_unscored(tables, vocabulary, where)
    return evaluate_labels(
        *(split, names, labels[:2], labels[2:], vocabulary, parsed, corrections),
        unscored_counts(tables),
    )


def _sources(side: Side, pair: tuple[EventSource, EventSource]) -> list[Path | NDArray[Any]]:
    """Return the sources of audio and visual: paths, or arrays of 0 and 1."""
    if isinstance(pair, str | Path) or len(pair) != len(MODALITIES):
        raise PipelineError(f"{side} must be two tables or arrays, of audio and of visual events.")
    return [
        _source(f"{side} {modality}", source)
        for modality, source in zip(MODALITIES, pair, strict=True)
    ]


def _source(what: str, source: EventSource) -> Path | NDArray[Any]:
    if isinstance(source, str | Path):
        return Path(source)
    try:
        array = np.asarray(source)
    except ValueError as error:
        raise PipelineError(f"the array of {what} events is malformed ({error}).") from None
    if problem := label_problem(array):
        raise PipelineError(f"the array of {what} events {problem}; it must be 0 and 1 only.")
    if array.ndim == 0:
        raise PipelineError(f"{what} events are {source!r}; pass a table or an array (N, T, C).")
    return array


def _names(videos: str | Path | Sequence[str] | None, count: int | None) -> Sequence[str]:
    if isinstance(videos, str | Path):
        names = read_names(Path(videos))
        if not names:
            raise PipelineError(f"'{videos}' lists no videos; give the table of a split.")
        return names
    if videos is not None:
        repeated = [name for name, number in Counter(videos).items() if number > 1]
        if repeated:
            raise PipelineError(f"videos lists '{repeated[0]}' twice; list every video once.")
        return videos
    if count is None:
        raise PipelineError("tables do not say which videos to score; pass videos.")
    return [str(row) for row in range(count)]


def _size(
    shapes: Sequence[tuple[int, ...]], videos: int, segments: int, classes: int
) -> tuple[int, int]:
    """Return T and C; arrays, if there are any, must have one shape (N, T, C)."""
    shape = shapes[0] if shapes else (videos, segments, classes)
    if len(set(shapes)) > 1 or len(shape) != 3 or shape[0] != videos:
        raise PipelineError(
            f"the arrays are {', '.join(map(str, shapes))}; they must all be (N, T, C) with"
            f" N = {videos}, the number of videos."
        )
    if 0 in shape:
        raise PipelineError(f"(N, T, C) is {shape}; N, T and C must be 1 or more.")
    if shape[2] != classes:
        raise PipelineError(
            f"the arrays have {counted(shape[2], 'class')}, but {classes} have a known name; pass"
            " class_names."
        )
    return shape[1], shape[2]


def _scored(
    side: Side,
    sources: Sequence[Path | NDArray[Any]],
    names: Sequence[str],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> list[ScoredTable]:
    tables = [
        score_events(side, modality, source, read_events(source, vocabulary), names, size)
        if isinstance(source, Path)
        else ScoredTable(side, modality, Path(), source.astype(np.uint8), 0, {})
        for modality, source in zip(MODALITIES, sources, strict=True)
    ]
    check_scored(tables, names, vocabulary)
    return tables
