"""The Python API's functions that bring several parts of the package together.

``import pipeline`` exports them, with ``load_parser`` and ``read_features``.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.load import load_config
from pipeline.config.settings import inference_settings
from pipeline.core.errors import PipelineError
from pipeline.core.validation import validated
from pipeline.core.vocabulary import DEFAULT_PATH, Vocabulary, read_vocabulary
from pipeline.data.corrections import read_corrections
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.options import CoverageOptions, MissingPolicy
from pipeline.evaluation.sources import EventSource, evaluate_events
from pipeline.inference.parser import Parser, zero_shot_parser
from pipeline.inference.predictors import classes_from_phrases, split_phrases
from pipeline.media.options import WindowOptions

# The encoders that know real videos.
ZERO_SHOT_PRESET = "llp"


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
    return evaluate_events(videos, truth, predicted, vocabulary, segments, parsed, overlay)


def _vocabulary(class_names: Sequence[str]) -> Vocabulary:
    if isinstance(class_names, str) or len(set(class_names)) != len(class_names):
        raise PipelineError(f"class_names is {class_names!r}; it must list every class once.")
    return Vocabulary.of_names(class_names)
