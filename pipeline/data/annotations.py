"""LLP's annotation tables: conversion of weak labels and dense events to arrays and back.

The tables are tab-separated. A weak table has a row per video (``filename``, and ``event_labels``
joined by commas); an event table has a row per event (``filename``, ``onset``, ``offset``,
``event_labels``). Predictions are written as event tables too.
Source: Tian et al., ECCV 2020 (LLP), and its published evaluator.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.files import existing_file, write_text
from pipeline.core.vocabulary import Vocabulary
from pipeline.core.wording import counted

SPLIT_TABLES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
# Splits with annotated events, which can be scored.
SCORED_SPLITS = ("val", "test")
EVENT_TABLES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}
FULL_TABLE = "AVVP_dataset_full.csv"

EVENT_COLUMNS = ("filename", "onset", "offset", "event_labels")

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class EventRow:
    """One row of an event table.

    Attributes
    ----------
    filename
        Full video name.
    onset, offset
        Start and end in seconds from the start of the video's window.
    class_index
        Index into the vocabulary.
    """

    filename: str
    onset: float
    offset: float
    class_index: int


@dataclass(frozen=True)
class EventRuns:
    """All maximal runs of consecutive positive segments of labels ``[N, T, C]``.

    Runs are sorted by video, then class, then onset; every attribute has one value per run.

    Attributes
    ----------
    video, class_index
        Video index and class of the run.
    onset, offset
        First segment of the run, and first segment after it.
    """

    video: NDArray[np.int64]
    class_index: NDArray[np.int64]
    onset: NDArray[np.int64]
    offset: NDArray[np.int64]


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line number and the values of ``columns`` of every row of a table.

    Empty lines and other columns are ignored. There is no quoting, so a stray quotation mark is
    part of its value and cannot swallow the following lines.

    Raises
    ------
    PipelineError
        The file is missing or not UTF-8 text, a column is missing, or a row is too short.
    """
    header, lines = _header_and_lines(path)
    absent = [column for column in columns if column not in header]
    if absent:
        raise PipelineError(
            f"'{path}' line 1 lacks the column '{absent[0]}'; its tab-separated header must have "
            f"{', '.join(columns)}, not {header}."
        )
    indices = [header.index(column) for column in columns]
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        values = [value.strip() for value in line.split("\t")]
        if len(values) <= max(indices):
            raise PipelineError(
                f"'{path}' line {number} has {counted(len(values), 'tab-separated value')}, but its"
                f" header has {counted(len(header), 'column')}; complete the row."
            )
        yield number, tuple(values[index] for index in indices)


def has_column(path: Path, column: str) -> bool:
    """Return whether a table has a column."""
    return column in _header_and_lines(path)[0]


def read_names(path: Path) -> list[str]:
    """Return the unique video names of a table, in order; only ``filename`` is required."""
    return list(dict.fromkeys(name for _, (name,) in read_rows(path, ("filename",))))


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Return the names of the videos of every split.

    Raises
    ------
    PipelineError
        A table is missing, or a video is in two splits.
    """
    names = {split: read_names(folder / table) for split, table in SPLIT_TABLES.items()}
    split_of: dict[str, str] = {}
    for split, listed in names.items():
        for name in listed:
            if (other := split_of.setdefault(name, split)) != split:
                raise PipelineError(
                    f"'{name}' is in the splits {other} and {split}; remove it from one table in"
                    f" '{folder}'."
                )
    return names


def read_weak_labels(path: Path, vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    """Read a weak table.

    Returns
    -------
    dict
        Video name to its class indices, both in table order. Repeated labels count once, rows of
        the same video are merged, and a video may have no label.

    Raises
    ------
    PipelineError
        The table is malformed or names a class that is not in the vocabulary.
    """
    labels: dict[str, tuple[int, ...]] = {}
    for line, (filename, joined) in read_rows(path, ("filename", "event_labels")):
        indices = [
            class_at(path, line, name.strip(), vocabulary)
            for name in joined.split(",")
            if name.strip()
        ]
        labels[filename] = tuple(dict.fromkeys([*labels.get(filename, ()), *indices]))
    return labels


def weak_matrix(
    labels: Mapping[str, Iterable[int]], names: Sequence[str], class_count: int
) -> Labels:
    """Return the weak labels of ``names`` as a multi-hot array ``[N, C]`` of 0 and 1.

    Raises
    ------
    PipelineError
        A name has no weak labels.
    """
    matrix = np.zeros((len(names), class_count), np.uint8)
    for row, name in enumerate(names):
        if name not in labels:
            raise PipelineError(f"the video '{name}' is in no weak table; add its row.")
        matrix[row, list(labels[name])] = 1
    return matrix


def read_events(path: Path, vocabulary: Vocabulary) -> list[EventRow]:
    """Read all rows of an event table in order, without repairs.

    Raises
    ------
    PipelineError
        The table is malformed, a time is not a finite number, or a class is not in the vocabulary.
    """
    return [
        event_at(path, line, values, vocabulary) for line, values in read_rows(path, EVENT_COLUMNS)
    ]


def event_at(path: Path, line: int, values: Sequence[str], vocabulary: Vocabulary) -> EventRow:
    """Return a row's values of ``EVENT_COLUMNS`` as an event; errors name file and line."""
    filename, onset, offset, name = values
    return EventRow(
        filename,
        _seconds_at(path, line, "onset", onset),
        _seconds_at(path, line, "offset", offset),
        class_at(path, line, name, vocabulary),
    )


def events_to_segments(
    events: Iterable[EventRow], names: Sequence[str], segments: int, class_count: int
) -> Labels:
    """Convert events to segment labels exactly as LLP's published evaluator does.

    An event sets the slice ``[int(onset):int(offset)]`` of its class: zero-length and reversed
    intervals set nothing, overlapping and adjacent ones merge, and ones that start before 0 or end
    after the last segment are cut; see `window_problem`. Events of videos that are not in ``names``
    are ignored.
    differs: that evaluator counts negative times from the end; LLP's tables have none.

    Returns
    -------
    ndarray ``[N, T, C]`` of 0 and 1
    """
    row_of = {name: row for row, name in enumerate(names)}
    labels = np.zeros((len(names), segments, class_count), np.uint8)
    for event in events:
        row = row_of.get(event.filename)
        if row is not None:
            onset, offset = max(0, int(event.onset)), max(0, int(event.offset))
            labels[row, onset:offset, event.class_index] = 1
    return labels


def window_problem(event: EventRow, segments: int) -> str:
    """Return the annotation check that an event's times fail; empty if all of it is scored.

    ``sets_nothing`` and ``outside_window`` set no segment, ``cut_event`` only some.
    """
    onset, offset = int(event.onset), int(event.offset)
    if onset >= offset:
        return "sets_nothing"
    if offset <= 0 or onset >= segments:
        return "outside_window"
    return "cut_event" if event.onset < 0 or event.offset > segments else ""


def describe_event(event: EventRow, vocabulary: Vocabulary) -> str:
    """Return an event's class and times, such as ``Dog 0 to 4``."""
    return f"{vocabulary.names[event.class_index]} {event.onset:g} to {event.offset:g}"


def find_runs(labels: NDArray[np.generic]) -> EventRuns:
    """Find the maximal runs of positive segments of labels ``[N, T, C]``, class by class."""
    by_class = labels.transpose(0, 2, 1) != 0
    edges = np.diff(np.pad(by_class.astype(np.int8), ((0, 0), (0, 0), (1, 1))), axis=2)
    video, class_index, onset = np.nonzero(edges == 1)
    # Starts and ends alternate within a class, so the k-th start matches the k-th end.
    offset = np.nonzero(edges == -1)[2]
    return EventRuns(video, class_index, onset, offset)


def segments_to_events(labels: NDArray[np.generic], names: Sequence[str]) -> list[EventRow]:
    """Return the maximal runs of labels ``[N, T, C]`` as events, by video, class and onset."""
    found = find_runs(labels)
    columns = (found.video, found.onset, found.offset, found.class_index)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        EventRow(names[row], onset, offset, class_index) for row, onset, offset, class_index in rows
    ]


def write_events(path: Path, events: Iterable[EventRow], vocabulary: Vocabulary) -> None:
    """Write an event table, atomically."""
    class_names = vocabulary.names
    lines = ["\t".join(EVENT_COLUMNS)]
    lines += [
        f"{event.filename}\t{event.onset:g}\t{event.offset:g}\t{class_names[event.class_index]}"
        for event in events
    ]
    write_text(path, "\n".join(lines) + "\n")


def class_at(path: Path, line: int, name: str, vocabulary: Vocabulary) -> int:
    """Return the index of a class named in a table; errors name the file and the line."""
    try:
        return vocabulary.index(name)
    except PipelineError as error:
        raise PipelineError(f"'{path}' line {line}: {error}") from None


def _header_and_lines(path: Path) -> tuple[list[str], list[str]]:
    """Return a table's column names, and its other lines."""
    try:
        lines = existing_file(path, "an annotation table").read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PipelineError(f"'{path}' is not UTF-8 text ({error}); save it as UTF-8.") from None
    return [name.strip() for name in lines[0].split("\t")], lines[1:]


def _seconds_at(path: Path, line: int, column: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise PipelineError(
            f"'{path}' line {line}: {column} must be a number of seconds, not '{value}'."
        )
    return seconds
