"""Evaluation of predicted against annotated events, as a JSON value."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_json
from pipeline.core.shards import ShardReader
from pipeline.core.vocabulary import Vocabulary
from pipeline.core.wording import counted
from pipeline.data.annotations import (
    EVENT_TABLES,
    SCORED_SPLITS,
    SPLIT_TABLES,
    Labels,
    read_names,
)
from pipeline.data.corrections import Corrections
from pipeline.evaluation.bootstrap import Floats
from pipeline.evaluation.coverage import ParsedVideos
from pipeline.evaluation.metrics import LEVELS, METRICS, score
from pipeline.evaluation.tables import (
    ScoredTable,
    read_scored,
    score_events,
    stacked_labels,
    unscored_counts,
    warn_of_unscored,
)

logger = logging.getLogger(__name__)


def evaluate_arrays(
    split: str,
    names: Sequence[str],
    truth: Iterable[NDArray[Any]],
    predicted: Iterable[NDArray[Any]],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Score predicted labels of a split.

    Parameters
    ----------
    split
        Name of the split.
    names
        The N videos.
    truth, predicted : ``(audio, visual)``
        Two arrays ``[N, T, C]``, or one stacked ``[2, N, T, C]``; nonzero is positive.
    vocabulary
        The C classes.

    Returns
    -------
    dict
        ``split``; ``videos``: N; ``metrics``: level to metric to percent, unrounded;
        ``intervals``: the same with ``[low, high]``, 95% bootstrap over videos; ``per_class``:
        level to modality to class to F1 in percent, None for a class that does not occur.
        Levels and metrics are ``LEVELS`` and ``METRICS`` of ``pipeline.evaluation.metrics``.

    Raises
    ------
    ValueError
        The arrays' shapes differ from each other or from ``[N, T, C]``.
    """
    scores = score(*truth, *predicted)
    per_video = scores.per_video["segment"]["audio"]
    if len(per_video) != len(names):
        raise ValueError(f"the labels have length {len(per_video)}, but names {len(names)}")
    return {
        "split": split,
        "videos": len(names),
        "metrics": scores.metrics(),
        "intervals": scores.intervals(),
        "per_class": {
            level: {modality: _by_name(f1, vocabulary) for modality, f1 in by_modality.items()}
            for level, by_modality in scores.per_class.items()
        },
    }


def evaluate_labels(
    split: str,
    names: Sequence[str],
    truth: Labels,
    predicted: Labels,
    vocabulary: Vocabulary,
    parsed: ParsedVideos | None = None,
    corrections: Corrections | None = None,
    unscored: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score predicted labels of a split, of which some videos may not have been parsed.

    Parameters
    ----------
    split, names, vocabulary
        See ``evaluate_arrays``.
    truth, predicted : ``[2, N, T, C]``
        Labels, audio before visual.
    parsed
        The parsed videos, and what happens to the others; None: all were parsed.
    corrections
        Corrected annotations, which give a second evaluation.
    unscored
        What of the events is not scored, see ``unscored_counts``.

    Returns
    -------
    dict
        See ``evaluate_arrays``. With ``parsed`` also ``coverage``: ``listed`` and ``parsed``,
        numbers of videos, and ``missing``, the policy. With ``corrections`` also ``corrected``: the
        second evaluation, with ``replaced``, the number of corrected videos by modality, and
        ``tables``, SHA-256 by file name. ``unscored``, if any event is not scored.

    Raises
    ------
    PipelineError
        See ``ParsedVideos.select``.
    """
    listed = names
    if parsed is not None:
        rows = parsed.select(names, predicted)
        names, truth, predicted = [names[row] for row in rows], truth[:, rows], predicted[:, rows]
    evaluation = evaluate_arrays(split, names, truth, predicted, vocabulary)
    if parsed is not None:
        evaluation["coverage"] = parsed.described(listed)
    if corrections is not None:
        corrected = corrections.apply(truth, names)
        evaluation["corrected"] = {
            **evaluate_arrays(split, names, corrected, predicted, vocabulary),
            "replaced": corrections.replaced(names),
            "tables": dict(corrections.tables),
        }
    if unscored:
        evaluation["unscored"] = dict(unscored)
    return evaluation


def corrected_tables(
    corrections: Corrections, names: Sequence[str], size: tuple[int, int]
) -> list[ScoredTable]:
    """Return the corrected events of N videos, and what of them is not scored; size is T and C."""
    return [
        score_events(
            "corrected",
            modality,
            corrections.folder / EVENT_TABLES[modality],
            [event for name in names for event in videos.get(name, ())],
            names,
            size,
        )
        for modality, videos in corrections.events.items()
    ]


def warn_of_unknown(corrections: Corrections, names: Sequence[str], where: str) -> None:
    """Log the corrected videos that are not among ``names``, which ``where`` lists.

    Raises
    ------
    PipelineError
        None of the corrected videos is.
    """
    unknown = corrections.unknown(names, where)
    if unknown:
        logger.warning(
            "ignoring the corrections of %d of %d videos in '%s': they are not listed in %s, for"
            " example '%s'",
            len(unknown),
            len(corrections.names),
            corrections.folder,
            where,
            unknown[0],
        )


@dataclass(frozen=True)
class SplitPredictions:
    """The predictions of a trained parser for a split, and the annotations.

    Attributes
    ----------
    names
        The N parsed videos, including those without predicted events.
    truth, predicted : ``[2, N, T, C]``
        Labels, audio before visual.
    tables
        What of the events is not scored.
    """

    names: tuple[str, ...]
    truth: Labels
    predicted: Labels
    tables: Sequence[ScoredTable] = ()


def read_predictions(
    folder: Path, split: str, annotations: Path, vocabulary: Vocabulary
) -> SplitPredictions:
    """Read a trained parser's predictions for a split.

    Parameters
    ----------
    folder
        A model folder with ``predicted_{split}_{modality}.csv`` and
        ``probabilities_{split}.safetensors``, which lists the parsed videos.
    split
        ``val`` or ``test``.
    annotations
        Folder of the annotation tables.
    vocabulary
        The classes.

    Raises
    ------
    PipelineError
        A file is missing or malformed.
    """
    names, segments = parsed_videos(folder, split)
    predicted = [folder / f"predicted_{split}_{modality}.csv" for modality in EVENT_TABLES]
    annotated = read_annotated(annotations, names, segments, vocabulary)
    found = read_scored("predicted", predicted, names, segments, vocabulary)
    return SplitPredictions(
        names, stacked_labels(annotated), stacked_labels(found), (*annotated, *found)
    )


def read_annotated(
    annotations: Path, names: Sequence[str], segments: int, vocabulary: Vocabulary
) -> list[ScoredTable]:
    """Read the annotated events of N videos of a folder's scored splits."""
    listed = [annotations / SPLIT_TABLES[split] for split in SCORED_SPLITS]
    known = {name for table in listed if table.is_file() for name in read_names(table)}
    tables = [annotations / table for table in EVENT_TABLES.values()]
    return read_scored("truth", tables, names, segments, vocabulary, known)


def parsed_videos(folder: Path, split: str) -> tuple[tuple[str, ...], int]:
    """Return the names of a split's parsed videos, and T."""
    with ShardReader(folder / f"probabilities_{split}.safetensors") as parsed:
        return parsed.names, parsed.rows("audio", 0, 1).shape[1]


def evaluate_model(
    folder: Path,
    annotations: Path,
    vocabulary: Vocabulary,
    corrections: Corrections | None = None,
) -> dict[str, Any]:
    """Score a trained parser on validation and test, and write metrics.json.

    Parameters
    ----------
    folder, annotations, vocabulary
        See ``read_predictions``.
    corrections
        See ``evaluate_labels``.

    Returns
    -------
    dict
        Split to evaluation, see ``evaluate_labels``.

    Raises
    ------
    PipelineError
        A file is missing or malformed, a parsed video is not in its split's table, or no corrected
        video is in either split.
    """
    if corrections is not None:
        tables = [annotations / SPLIT_TABLES[split] for split in SCORED_SPLITS]
        names = [name for table in tables for name in read_names(table)]
        warn_of_unknown(corrections, names, f"the {' and '.join(SCORED_SPLITS)} tables")
    predictions = {
        split: read_predictions(folder, split, annotations, vocabulary) for split in SCORED_SPLITS
    }
    for split, found in predictions.items():
        listed = set(read_names(annotations / SPLIT_TABLES[split]))
        if strangers := [name for name in found.names if name not in listed]:
            raise PipelineError(
                f"'{annotations / SPLIT_TABLES[split]}' lacks {len(strangers):,} of"
                f" {len(found.names):,} {split} videos parsed in '{folder}', the first is"
                f" '{strangers[0]}'; give the annotations of these videos."
            )
    return write_metrics(folder, predictions, vocabulary, corrections)


def write_metrics(
    folder: Path,
    predictions: Mapping[str, SplitPredictions],
    vocabulary: Vocabulary,
    corrections: Corrections | None = None,
) -> dict[str, Any]:
    """Score a trained parser's predictions of each split, and write metrics.json.

    Returns
    -------
    dict
        Split to evaluation, see ``evaluate_labels``.
    """
    evaluations = {}
    for split, found in predictions.items():
        tables = [*found.tables]
        if corrections is not None:
            size = found.truth.shape[2], found.truth.shape[3]
            tables += corrected_tables(corrections, found.names, size)
        warn_of_unscored(tables, vocabulary, f"the {' and '.join(SCORED_SPLITS)} tables")
        evaluations[split] = evaluate_labels(
            split,
            found.names,
            found.truth,
            found.predicted,
            vocabulary,
            corrections=corrections,
            unscored=unscored_counts(tables),
        )
    write_json(folder / "metrics.json", evaluations)
    return evaluations


def summary(evaluation: dict[str, Any], total: int | None = None) -> str:
    """Return an evaluation's scores as a text table, in percent with one decimal.

    ``total`` is the number of videos in the split's table, if some may not have been scored. Scores
    with corrected annotations follow the others.
    """
    lines = [f"{evaluation['split']}, {_coverage_text(evaluation, total)}, F1 in percent"]
    lines += _score_lines(evaluation)
    if "corrected" in evaluation:
        lines.append(f"with corrected annotations ({replaced_text(evaluation['corrected'])})")
        lines += _score_lines(evaluation["corrected"])
    return "\n".join(lines)


def replaced_text(corrected: dict[str, Any]) -> str:
    """Return how many videos' annotations were corrected in each modality."""
    return ", ".join(
        f"{modality} of {counted(count, 'video')}"
        for modality, count in corrected["replaced"].items()
    )


def _coverage_text(evaluation: dict[str, Any], total: int | None) -> str:
    """Return how many videos were scored, and how those that were not parsed were counted."""
    videos, coverage = evaluation["videos"], evaluation.get("coverage")
    if coverage is None:
        return counted(videos, "video") if total is None else f"{videos:,} of {total:,} videos"
    listed, unparsed = coverage["listed"], coverage["listed"] - coverage["parsed"]
    if unparsed and coverage["missing"] == "empty":
        unparsed_text = f"{unparsed:,} of them not parsed and scored as without events"
        return f"{counted(listed, 'video')}, {unparsed_text}"
    return f"{videos:,} of {listed:,} videos"


def _score_lines(evaluation: dict[str, Any]) -> list[str]:
    lines = [" " * 8 + "".join(f"{metric:>14}" for metric in METRICS)]
    for level in LEVELS:
        scores = evaluation["metrics"][level]
        lines.append(f"{level:8}" + "".join(f"{scores[metric]:14.1f}" for metric in METRICS))
    return lines


def _by_name(f1: Floats, vocabulary: Vocabulary) -> dict[str, float | None]:
    """Return the F1 ``[C]`` in percent by class name, None for a class that does not occur."""
    return {
        name: None if math.isnan(value) else 100 * value
        for name, value in zip(vocabulary.names, f1.tolist(), strict=True)
    }
