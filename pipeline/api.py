"""The Python API's functions that bring several parts of the package together.

``import pipeline`` exports them, with ``load_parser`` and ``read_features``.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.load import load_config
from pipeline.config.settings import inference_settings
from pipeline.core.errors import PipelineError
from pipeline.core.validation import validated
from pipeline.core.vocabulary import DEFAULT_PATH, Vocabulary, read_vocabulary
from pipeline.data.annotations import EventRow, Labels, events_to_segments, read_events, read_names
from pipeline.data.corrections import read_corrections
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.evaluate import (
    evaluate_labels,
    evaluate_tables,
    warn_of_strangers,
    warn_of_unknown,
)
from pipeline.evaluation.options import CoverageOptions, MissingPolicy
from pipeline.inference.parser import Parser, zero_shot_parser
from pipeline.inference.predictors import classes_from_phrases, split_phrases

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
        ``(audio, visual)``: event tables in LLP's format, or arrays ``(N, T, C)`` that are not 0
        where a class occurs.
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
        corrected annotations.

    Raises
    ------
    PipelineError
        A table is missing or malformed, shapes, videos and classes do not fit together, or a video
        was not parsed.
    """
    vocabulary = read_vocabulary() if class_names is None else Vocabulary.of_names(class_names)
    parsed = ParsedVideos.of(
        predicted_videos, validated(CoverageOptions, {"missing": missing}).missing
    )
    overlay = None if corrections is None else read_corrections(Path(corrections), vocabulary)
    sources = (*truth, *predicted)
    arrays = [np.asarray(source) for source in sources if not isinstance(source, str | Path)]
    if not arrays and isinstance(videos, str | Path):
        annotated, found = ((Path(str(one)), Path(str(two))) for one, two in (truth, predicted))
        return evaluate_tables(
            Path(videos), annotated, found, vocabulary, segments, parsed, overlay
        )
    names = _names(videos, len(arrays[0]) if arrays else None)
    shape = arrays[0].shape if arrays else (len(names), segments, len(vocabulary))
    if len({array.shape for array in arrays}) > 1 or len(shape) != 3 or shape[0] != len(names):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise PipelineError(
            f"the arrays are {shapes}; they must all be (N, T, C) with N = {len(names)} videos."
        )
    if 0 in shape:
        raise PipelineError(f"(N, T, C) is {shape}; N, T and C must be 1 or more.")
    if shape[2] != len(vocabulary):
        raise PipelineError(
            f"the arrays have {shape[2]} classes, but {len(vocabulary)} class names are known;"
            " pass class_names."
        )
    if overlay is not None:
        warn_of_unknown(overlay, names, "the listed ones")
    labels = np.stack(
        [
            _labels(source, names, shape, vocabulary, is_prediction)
            for pair, is_prediction in ((truth, False), (predicted, True))
            for source in pair
        ]
    )
    split = Path(videos).stem.removeprefix("AVVP_") if isinstance(videos, str | Path) else "videos"
    return evaluate_labels(split, names, labels[:2], labels[2:], vocabulary, parsed, overlay)


def _names(videos: str | Path | Sequence[str] | None, count: int | None) -> Sequence[str]:
    if isinstance(videos, str | Path):
        return read_names(Path(videos))
    if videos is not None:
        return videos
    if count is None:
        raise PipelineError("tables do not say which videos to score; pass videos.")
    return [str(row) for row in range(count)]


def _labels(
    source: EventSource,
    names: Sequence[str],
    shape: tuple[int, ...],
    vocabulary: Vocabulary,
    is_prediction: bool,
) -> Labels:
    if isinstance(source, str | Path):
        events: Sequence[EventRow] = read_events(Path(source), vocabulary)
        if is_prediction:
            warn_of_strangers(Path(source), events, names, "videos")
        return events_to_segments(events, names, shape[1], shape[2])
    labels: Labels = (np.asarray(source) != 0).astype(np.uint8)
    return labels
