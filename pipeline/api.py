"""The Python API's functions that bring several parts of the package together.

``import pipeline`` exports them, with ``load_parser`` and ``read_features``.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.load import load_config
from pipeline.config.settings import inference_settings
from pipeline.core.arrays import label_problem
from pipeline.core.errors import PipelineError
from pipeline.core.validation import validated
from pipeline.core.vocabulary import DEFAULT_PATH, MODALITIES, Vocabulary, read_vocabulary
from pipeline.core.wording import counted
from pipeline.data.annotations import read_events, read_names
from pipeline.data.corrections import read_corrections
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.evaluate import (
    corrected_tables,
    evaluate_labels,
    warn_of_unknown,
)
from pipeline.evaluation.options import CoverageOptions, MissingPolicy
from pipeline.evaluation.tables import (
    ScoredTable,
    Side,
    check_scored,
    score_events,
    stacked_labels,
    unscored_counts,
    warn_of_unscored,
)
from pipeline.inference.parser import Parser, zero_shot_parser
from pipeline.inference.predictors import classes_from_phrases, split_phrases
from pipeline.media.options import WindowOptions

# The encoders that know real videos.
ZERO_SHOT_PRESET = "llp"
# A table of events, or labels of N videos, (N, T, C).
EventSource = str | Path | NDArray[Any]


def zero_shot(
    classes: Sequence[str] | str,
    *,
    preset: str | None = None,
    config: str | Path | Sequence[str | Path] | None = None,
    references: str | Path = DEFAULT_PATH,
    device: str = "auto",
    threshold: float | None = None,
) -> Parser:
    """Return a parser for any classes, which compares CLIP and CLAP embeddings with captions.

    Parameters
    ----------
    classes
        What to detect, in words, such as ``["a bell", "a dog"]``.
    preset
        Whose encoders to use: ``llp`` (default; the published CLIP and CLAP, downloaded on first
        use) or ``demo`` (small encoders in the package, which only know the demo's synthetic
        videos). Downloads are kept in ``resources/hub`` if the working directory is a run folder,
        else in ``~/.cache/avvp/hub``; the variable ``AVVP_HUB`` names another folder.
    config
        A configuration file that changes the preset, or names it; or several, later ones over
        earlier ones.
    references
        A vocabulary of other classes that may occur (default: LLP's 25). Those that share a word
        with one of ``classes`` are left out.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.
    threshold
        The events' threshold, between 0 and 1 (default: 0.3).

    Raises
    ------
    PipelineError
        The classes are empty or repeated, or the encoders' files are missing.
    """
    phrases = split_phrases(classes) if isinstance(classes, str) else classes
    given = [config] if isinstance(config, str | Path) else config or []
    files = [Path(path) for path in given]
    configured = load_config(files, preset if preset or files else ZERO_SHOT_PRESET)
    settings = inference_settings(configured, classes_from_phrases(phrases))
    return zero_shot_parser(settings, read_vocabulary(Path(references)), device, threshold)


def evaluate(
    *,
    videos: str | Path | Sequence[str] | None = None,
    truth: tuple[EventSource, EventSource],
    predicted: tuple[EventSource, EventSource],
    class_names: Sequence[str] | None = None,
    segments: int = 10,
    predicted_videos: str | Path | Collection[str] | None = None,
    missing: MissingPolicy = "error",
    corrections: str | Path | None = None,
) -> dict[str, Any]:
    """Score predicted events with the published LLP metrics.

    Parameters
    ----------
    videos
        A table whose ``filename`` column lists the videos, or their names in the order of the
        arrays. May be omitted if everything else is arrays.
    truth, predicted
        ``(audio, visual)``: event tables in LLP's format, or arrays ``(N, T, C)`` of 0 and 1 (or
        bool), 1 where a class occurs.
    class_names
        The C classes (default: LLP's 25).
    segments
        T, segments per video, if everything is tables.
    predicted_videos
        The videos that were parsed, with or without events: their names, a table with the column
        ``filename``, or ``probabilities_{split}.safetensors`` of a trained parser (default: all).
    missing
        Videos that ``predicted_videos`` lacks: ``error`` refuses to score, ``report`` scores only
        the parsed videos, ``empty`` scores the missing ones as having no predicted events.
    corrections
        A folder of corrected event tables, which replace all annotated events of the videos they
        list.

    Returns
    -------
    dict
        ``metrics`` maps ``segment`` and ``event`` to ``audio``, ``visual``, ``audio_visual``,
        ``type`` and ``event`` in percent; ``intervals`` has their 95% bootstrap intervals, and
        ``per_class`` the F1 of every class. With ``predicted_videos``, ``coverage`` has the number
        of ``listed`` and ``parsed`` videos. With ``corrections``, ``corrected`` has the scores with
        corrected annotations. ``unscored`` counts events of the tables that are not scored: of
        other videos, before 0 or after the last segment, or shorter than a segment.

    Raises
    ------
    PipelineError
        A table is missing or malformed, an array has other values than 0 and 1, shapes, videos and
        classes do not fit together, no event of a table is scored, or a video was not parsed.
    """
    vocabulary = read_vocabulary() if class_names is None else _vocabulary(class_names)
    segments = validated(WindowOptions, {"segments": segments}).segments
    parsed = ParsedVideos.of(
        predicted_videos, validated(CoverageOptions, {"missing": missing}).missing
    )
    overlay = None if corrections is None else read_corrections(Path(corrections), vocabulary)
    annotated, found = _sources("truth", truth), _sources("predicted", predicted)
    arrays = [source for source in (*annotated, *found) if not isinstance(source, Path)]
    names = _names(videos, len(arrays[0]) if arrays else None)
    where = f"'{videos}'" if isinstance(videos, str | Path) else "videos"
    size = _size([array.shape for array in arrays], len(names), segments, len(vocabulary))
    scored = [
        *_scored("truth", annotated, names, size, vocabulary),
        *_scored("predicted", found, names, size, vocabulary),
    ]
    check_scored(scored, names, vocabulary)
    labels = stacked_labels(scored)
    if overlay is not None:
        warn_of_unknown(overlay, names, where)
        scored += corrected_tables(overlay, names, size)
    warn_of_unscored(scored, vocabulary, where)
    split = Path(videos).stem.removeprefix("AVVP_") if isinstance(videos, str | Path) else "videos"
    return evaluate_labels(
        *(split, names, labels[:2], labels[2:], vocabulary, parsed, overlay),
        unscored_counts(scored),
    )


def _vocabulary(class_names: Sequence[str]) -> Vocabulary:
    if isinstance(class_names, str) or len(set(class_names)) != len(class_names):
        raise PipelineError(f"class_names is {class_names!r}; it must list every class once.")
    return Vocabulary.of_names(class_names)


def _sources(
    side: Side, pair: tuple[EventSource, EventSource]
) -> tuple[Path | NDArray[Any], Path | NDArray[Any]]:
    """Return the sources of audio and visual: paths, or arrays of 0 and 1."""
    if isinstance(pair, str | Path) or len(pair) != len(MODALITIES):
        raise PipelineError(f"{side} must be two tables or arrays, of audio and of visual events.")
    audio, visual = (
        _source(f"{side} {modality}", source)
        for modality, source in zip(MODALITIES, pair, strict=True)
    )
    return audio, visual


def _source(what: str, source: EventSource) -> Path | NDArray[Any]:
    if isinstance(source, str | Path):
        return Path(source)
    try:
        array = np.asarray(source)
    except ValueError as error:
        raise PipelineError(f"the array of {what} events is malformed ({error}).") from None
    if problem := label_problem(array):
        raise PipelineError(f"the array of {what} events {problem}; it must be 0 and 1 only.")
    return array


def _names(videos: str | Path | Sequence[str] | None, count: int | None) -> Sequence[str]:
    if isinstance(videos, str | Path):
        return read_names(Path(videos))
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
    pair: tuple[Path | NDArray[Any], Path | NDArray[Any]],
    names: Sequence[str],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> Iterator[ScoredTable]:
    for modality, source in zip(MODALITIES, pair, strict=True):
        if isinstance(source, Path):
            events = read_events(source, vocabulary)
            yield score_events(side, modality, source, events, names, size)
        else:
            yield ScoredTable(side, modality, Path(), source.astype(np.uint8), 0, {})
