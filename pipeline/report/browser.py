"""Data of the video browser: JSON for the page's script, and the same as CSV tables."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.vocabulary import MODALITIES, display_name
from pipeline.data.manifest import list_videos
from pipeline.report.artifacts import SPLIT_TITLES, ReportInputs
from pipeline.report.methods import MethodPredictions
from pipeline.report.timelines import TIMELINE_KINDS, TimelinePlot, timelines

VIDEOS_FILE = "videos.csv"
BROWSER_EVENTS_FILE = "videos_events.csv"
VIDEO_COLUMNS = [
    "method",
    "filename",
    "split",
    "segment_type_percent",
    "event_type_percent",
    "annotated_events",
]
BROWSER_EVENT_COLUMNS = ["method", "filename", "modality", "kind", "class"]
BROWSER_EVENT_COLUMNS += ["onset_seconds", "offset_seconds"]
# A page stays small: it lists at most this many videos, times methods.
MOST_RESULTS = 20_000
# A score from 0 to 1 is one of these characters.
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Clip:
    """Where a video's window can be played.

    Attributes
    ----------
    url
        Address relative to the report's page.
    start, end
        The window in that file, in seconds.
    """

    url: str
    start: float
    end: float


def find_clips(sources: ReportInputs, page_folder: Path) -> dict[str, Clip]:
    """Return the clips of the videos whose files are there, by name.

    The report must not fail for want of videos, so a folder that cannot be read has none.
    """
    if sources.videos is None:
        return {}
    configuration = sources.settings.get("configuration") or {}
    dataset = configuration.get("dataset") or {}
    how = [bool(dataset.get(key)) for key in ("untrimmed", "follow_links")]
    try:
        rows = list_videos(sources.annotations, sources.videos, 1, *how)
    except PipelineError:
        return {}
    here = os.path.abspath(page_folder)
    found = {row.filename: row for row in rows if row.path and os.path.isfile(row.path)}
    return {
        name: Clip(quote(os.path.relpath(row.path, here)), row.start, row.end)
        for name, row in found.items()
    }


class VideoBrowser:
    """Collects the videos of one method after another.

    Attributes
    ----------
    events, scores
        Rows of ``BROWSER_EVENTS_FILE`` and ``VIDEOS_FILE``.
    """

    def __init__(
        self,
        names: Sequence[str],
        methods: int,
        class_names: Sequence[str],
        clips: Mapping[str, Clip],
    ) -> None:
        """Choose the videos that the page lists, evenly spaced over ``names``."""
        most = max(1, min(len(names), MOST_RESULTS // max(methods, 1)))
        rows = np.linspace(0, len(names) - 1, most).round().astype(int)
        self._index = {names[row]: index for index, row in enumerate(rows)}
        self._total = len(names)
        self._classes = {name: index for index, name in enumerate(class_names)}
        self._clips = clips
        self._videos: list[list[Any]] = [[] for _ in self._index]
        self._results: list[dict[str, Any]] = []
        self._seconds = 0
        self.events: list[list[object]] = []
        self.scores: list[list[object]] = []
        self._known: set[str] = set()

    def add(self, method: MethodPredictions) -> None:
        """Add a method's first seed."""
        videos: list[list[Any] | None] = [None] * len(self._index)
        for split in SPLIT_TITLES:
            scores = method.scores.get(split)
            plots = timelines(method.by_split[split][0], split, list(self._classes))
            for row, video in enumerate(plots):
                self._add_rows(method.key, video)
                index = self._index.get(video.filename)
                if index is None:
                    continue
                self._seconds = video.truth.shape[1]
                self._videos[index] = self._shared(video)
                traces = [] if scores is None else list(_traces(video, scores[:, row]))
                predicted = self._bars(video, "predicted")
                videos[index] = [round(video.f1, 1), round(video.event_f1, 1), predicted, traces]
        seed = method.seeds[0] if method.seeds else None
        self._results.append({"seed": seed, "threshold": method.threshold, "videos": videos})

    def data(self) -> dict[str, Any]:
        """Return the videos in the format of the page's script.

        ``videos`` has one list per video: name, split, annotated bars, and its clip: address,
        start and end, or null. ``results`` has one object per method, whose ``videos`` are null or
        segment-level and event-level Type@AV, predicted bars, and the scores of every class that
        is annotated or predicted, in the order of modality and class, as ``DIGITS``. A bar is four
        numbers: modality (0 audio, 1 visual), class, onset and offset.
        """
        return {
            "seconds": self._seconds,
            "total": self._total,
            "classes": [display_name(name) for name in self._classes],
            "videos": self._videos,
            "results": self._results,
        }

    def _shared(self, video: TimelinePlot) -> list[Any]:
        clip = self._clips.get(video.filename)
        place = [clip.url, clip.start, clip.end] if clip else None
        return [video.filename, video.split, self._bars(video, "truth"), place]

    def _bars(self, video: TimelinePlot, wanted: str) -> list[int]:
        numbers = []
        for modality, kind, name, onset, offset in video.bars:
            if kind == wanted:
                numbers += [MODALITIES.index(modality), self._classes[name], onset, offset]
        return numbers

    def _add_rows(self, method: str, video: TimelinePlot) -> None:
        percent = (video.f1, video.event_f1)
        self.scores.append([method, video.filename, video.split, *percent, video.event_count])
        for modality, kind, *event in video.bars:
            if kind != TIMELINE_KINDS[0]:
                self.events.append([method, video.filename, modality, kind, *event])
            elif video.filename not in self._known:
                self.events.append(["", video.filename, modality, kind, *event])
        self._known.add(video.filename)


def _traces(video: TimelinePlot, scores: np.ndarray[Any, Any]) -> Iterator[str]:
    """Yield the scores of each class that occurs, one character per segment."""
    top = len(DIGITS) - 1
    for track, (_, classes) in enumerate(video.tracks()):
        for index in classes:
            levels = (np.clip(scores[track, :, index], 0, 1) * top).round().astype(int)
            yield "".join(DIGITS[level] for level in levels)
