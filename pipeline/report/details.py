"""What the page shows of each method, for a reader to choose, and the same as CSV tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import write_csv
from pipeline.core.vocabulary import MODALITIES, display_name
from pipeline.evaluation.metrics import LEVELS
from pipeline.report.artifacts import Artifacts
from pipeline.report.browser import (
    BROWSER_EVENT_COLUMNS,
    BROWSER_EVENTS_FILE,
    VIDEO_COLUMNS,
    VIDEOS_FILE,
    VideoBrowser,
    find_clips,
)
from pipeline.report.classes import (
    CLASS_COLUMNS,
    CLASSES_FILE,
    ClassScores,
    class_rows,
    class_scores,
)
from pipeline.report.confusion import (
    CLASS_CONFUSION_FILE,
    MODALITY_CONFUSION_FILE,
    NOTHING,
    STATES,
    confusions,
    sparse,
)
from pipeline.report.curves import (
    PRECISION_RECALL_FILE,
    SWEEP_FILE,
    THRESHOLDS,
    Curves,
    curves,
)
from pipeline.report.methods import MethodPredictions, every_method
from pipeline.report.paired import PAIRS_FILE, MethodScores, PairTest, compare_all, method_scores
from pipeline.report.timelines import TimelinePlot

Rows = list[list[object]]


@dataclass(frozen=True)
class Details:
    """What the page shows of each method.

    Attributes
    ----------
    methods
        The methods in the format of details.js.
    videos
        The videos in the format of videos.js.
    names
        Names of the methods, in the order of both.
    pairs
        Tests of all pairs of trained methods; None for a single one.
    """

    methods: dict[str, Any]
    videos: dict[str, Any]
    names: tuple[str, ...]
    pairs: PairTest | None


def write_details(artifacts: Artifacts, ranked: Sequence[TimelinePlot], out: Path) -> Details:
    """Describe every method; write the tables of their classes, confusions, curves and videos.

    Parameters
    ----------
    artifacts
        Results of a run.
    ranked
        The scored videos in the order of the page.
    out
        Output folder.
    """
    class_names = artifacts.vocabulary.names
    names = [video.filename for video in ranked]
    clips = find_clips(artifacts.sources, out)
    browser = VideoBrowser(names, len(artifacts.parsers) + 1, class_names, clips)
    tables = _Tables(class_names)
    described: list[dict[str, Any]] = []
    scores: list[MethodScores] = []
    for method in every_method(artifacts):
        browser.add(method)
        described.append(tables.add(method))
        if method.seeds:
            scores.append(method_scores(method))
    tables.write(out)
    write_csv(out / VIDEOS_FILE, VIDEO_COLUMNS, browser.scores)
    write_csv(out / BROWSER_EVENTS_FILE, BROWSER_EVENT_COLUMNS, browser.events)
    pairs = compare_all(scores)
    if pairs:
        write_csv(out / PAIRS_FILE, *pairs.csv())
    methods = {
        "classes": [display_name(name) for name in class_names],
        "states": list(STATES),
        "thresholds": THRESHOLDS,
        "methods": described,
    }
    return Details(methods, browser.data(), tuple(each["name"] for each in described), pairs)


class _Tables:
    """The rows of the tables, method after method."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._classes: Rows = []
        self._class_confusion: Rows = []
        self._modality_confusion: Rows = []
        self._sweep: Rows = []
        self._precision_recall: Rows = []

    def add(self, method: MethodPredictions) -> dict[str, Any]:
        """Add a method, and return what the page shows of it."""
        scores = class_scores(method, self._class_names)
        counts = confusions(method)
        found = curves(method)
        named = [*self._class_names, NOTHING]
        self._classes += class_rows(method.key, scores)
        for modality in MODALITIES:
            self._class_confusion += [
                [method.key, modality, named[int(row)], named[int(column)], value]
                for row, column, value in sparse(counts[modality])
            ]
        states = list(STATES)
        self._modality_confusion += [
            [method.key, states[int(row)], states[int(column)], value]
            for row, column, value in sparse(counts["states"])
        ]
        self._add_curves(method.key, found)
        return {
            "name": method.name,
            "seeds": len(method.seeds),
            "classes": [_short(each, self._class_names) for each in scores],
            "confusion": [sparse(counts[modality]) for modality in MODALITIES],
            "states": sparse(counts["states"]),
            "curves": _curve_data(found),
        }

    def _add_curves(self, key: str, found: Curves | None) -> None:
        if found is None:
            return
        columns = [found.sweep[level] for level in LEVELS]
        self._sweep += [[key, *values] for values in zip(THRESHOLDS, *columns, strict=True)]
        for modality, points in found.precision_recall.items():
            self._precision_recall += [[key, modality, *point] for point in points]

    def write(self, out: Path) -> None:
        """Write the tables."""
        counted = ["annotated", "predicted", "segments"]
        write_csv(out / CLASSES_FILE, ["method", *CLASS_COLUMNS], self._classes)
        header = ["method", "modality", *counted]
        write_csv(out / CLASS_CONFUSION_FILE, header, self._class_confusion)
        write_csv(out / MODALITY_CONFUSION_FILE, ["method", *counted], self._modality_confusion)
        header = ["method", "threshold", *(f"{level}_type_percent" for level in LEVELS)]
        write_csv(out / SWEEP_FILE, header, self._sweep)
        header = ["method", "modality", "threshold", "recall_percent", "precision_percent"]
        write_csv(out / PRECISION_RECALL_FILE, header, self._precision_recall)


def _short(scores: ClassScores, class_names: Sequence[str]) -> list[float | None]:
    """Return a class's scores as the numbers that the page shows."""
    values = (scores.precision, scores.recall, scores.f1, scores.low, scores.high, scores.event_f1)
    return [
        MODALITIES.index(scores.modality),
        class_names.index(scores.name),
        scores.videos,
        scores.segments,
        *(None if value is None else round(value, 1) for value in values),
    ]


def _curve_data(found: Curves | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "videos": found.videos,
        "own": found.own,
        "sweep": [[round(value, 1) for value in found.sweep[level]] for level in LEVELS],
        "precisionRecall": [
            [[round(number, 2) for number in point] for point in found.precision_recall[modality]]
            for modality in MODALITIES
        ],
    }
