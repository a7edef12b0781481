"""Timelines: annotated and predicted events of one video, audible above visible.

Axes: N videos, T segments, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.core.vocabulary import MODALITIES, display_name
from pipeline.data.annotations import Labels, find_runs
from pipeline.evaluation.evaluate import SplitPredictions
from pipeline.evaluation.metrics import LEVELS, score
from pipeline.report.artifacts import SPLIT_TITLES, Artifacts
from pipeline.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    WIDTH,
    legend_above,
    plot_style,
    shortened,
    text_width,
    to_svg,
)

TIMELINE_KINDS = ("truth", "predicted")
TRACK_TITLES = {"audio": "Audible", "visual": "Visible"}
TIMELINE_ROW_INCHES = 0.3
BAR_HEIGHT = 0.33
LETTER_INCHES = 0.072  # approximate width of a letter
TIMELINE_FILE = "timeline.svg"


@dataclass(frozen=True)
class TimelinePlot:
    """The timeline of one video.

    Attributes
    ----------
    filename, split
        Full name, and ``test`` or ``val``.
    f1, event_f1
        Segment-level and event-level Type@AV, in percent.
    truth, predicted : ``[2, T, C]``
        Annotated and predicted labels, audio before visual.
    class_names
        The C classes.
    """

    filename: str
    split: str
    f1: float
    event_f1: float
    truth: Labels
    predicted: Labels
    class_names: tuple[str, ...]

    @property
    def event_count(self) -> int:
        """Number of annotated audible and visible events."""
        return sum(kind == TIMELINE_KINDS[0] for _, kind, *_ in self.bars)

    def tracks(self) -> list[tuple[str, list[int]]]:
        """Return each modality with the indices of its annotated or predicted classes."""
        occurring = (self.truth | self.predicted).any(axis=1)
        return [
            (modality, np.flatnonzero(occurring[row]).tolist())
            for row, modality in enumerate(MODALITIES)
        ]

    @cached_property
    def bars(self) -> list[tuple[str, str, str, int, int]]:
        """Modality, ``truth`` or ``predicted``, class, onset and offset of each event."""
        found = []
        for kind, labels in zip(TIMELINE_KINDS, (self.truth, self.predicted), strict=True):
            events = find_runs(labels)
            rows = zip(events.video, events.class_index, events.onset, events.offset, strict=True)
            found += [
                (MODALITIES[track], kind, self.class_names[index], int(onset), int(offset))
                for track, index, onset, offset in rows
            ]
        return found


def ranked_timelines(artifacts: Artifacts) -> list[TimelinePlot]:
    """Return the timelines of all scored videos, hardest first.

    Predictions are those of the headline method's first seed. Videos are sorted by segment-level
    Type@AV, then by number of annotated events, fewest first.
    """
    names = artifacts.vocabulary.names
    videos = (
        video
        for split in SPLIT_TITLES
        for video in timelines(artifacts.parsed[split][0], split, names)
    )
    return sorted(videos, key=lambda video: (video.f1, video.event_count, video.filename))


def timelines(
    parsed: SplitPredictions, split: str, class_names: Sequence[str]
) -> Iterator[TimelinePlot]:
    """Yield the timeline of each video of a split, in the predictions' order."""
    by_level = score(*parsed.truth, *parsed.predicted).per_video
    scores = (100 * np.stack([by_level[level]["type"] for level in LEVELS])).T.tolist()
    for row, (name, (f1, event_f1)) in enumerate(zip(parsed.names, scores, strict=True)):
        labels = parsed.truth[:, row], parsed.predicted[:, row]
        yield TimelinePlot(name, split, f1, event_f1, *labels, tuple(class_names))


def showcase(ranked: Sequence[TimelinePlot]) -> TimelinePlot:
    """Return the video with the most annotated events in the easier half of the ranking."""
    return max(ranked[len(ranked) // 2 :], key=lambda video: (video.event_count, video.filename))


def timeline_svg(timeline: TimelinePlot) -> str:
    """Return a timeline as SVG, whose text is text: no font of this machine limits its scripts."""
    words = "; ".join(
        f"{display_name(name)}, {modality}, {kind}, {onset} to {offset} s"
        for modality, kind, name, onset, offset in timeline.bars
    )
    with plot_style():
        return to_svg(draw_timeline(timeline), "timeline", f"{timeline.filename}: {words}")


def draw_timeline(timeline: TimelinePlot) -> Figure:
    """Draw a timeline with one row per class, annotation above prediction.

    Call within ``plot_style``.
    """
    tracks = timeline.tracks()
    figure, axes = _new_tracks(timeline, sum(len(classes) + 1 for _, classes in tracks))
    head = 0
    for row, (modality, classes) in enumerate(tracks):
        colour = COLOURS[modality]
        _label(axes, head, TRACK_TITLES[modality], weight="bold")
        if not classes:
            axes.text(0.1, head, "no events", va="center", alpha=MUTED)
        for y, index in enumerate(classes, start=head + 1):
            _label(axes, y, shortened(display_name(timeline.class_names[index])))
            _draw_bars(axes, timeline.truth[row, :, index], y - BAR_HEIGHT, INK, MUTED)
            _draw_bars(axes, timeline.predicted[row, :, index], y, colour, 1)
        head += len(classes) + 1
    legend_above(
        figure,
        [
            Patch(color=INK, alpha=MUTED, linewidth=0, label="annotated"),
            Patch(color=COLOURS["audio"], linewidth=0, label="predicted, audible"),
            Patch(color=COLOURS["visual"], linewidth=0, label="predicted, visible"),
        ],
    )
    return figure


def _new_tracks(timeline: TimelinePlot, row_count: int) -> tuple[Figure, Axes]:
    """Return empty axes; the margin depends on the names that are drawn."""
    drawn = {index for _, classes in timeline.tracks() for index in classes}
    names = [shortened(display_name(timeline.class_names[index])) for index in drawn]
    widths = [text_width(text) for text in (*names, *TRACK_TITLES.values())]
    margin = LETTER_INCHES * max(widths) + 0.1
    below, above = 0.5, 0.32
    height = below + above + TIMELINE_ROW_INCHES * row_count
    figure = Figure(figsize=(WIDTH, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes(
        (
            margin / WIDTH,
            below / height,
            (WIDTH - margin - 0.2) / WIDTH,
            1 - (below + above) / height,
        )
    )
    segments = timeline.truth.shape[1]
    axes.set_xlim(0, segments)
    axes.set_ylim(row_count - 0.4, -0.5)
    axes.set_xticks(range(0, segments + 1, max(1, segments // 10)))
    axes.set_yticks([])
    axes.grid(axis="x")
    axes.set_xlabel("seconds")
    return figure, axes


def _label(axes: Axes, y: int, text: str, **style: Any) -> None:
    axes.text(
        -0.02, y, text, transform=axes.get_yaxis_transform(), ha="right", va="center", **style
    )


def _draw_bars(axes: Axes, active: Labels, top: float, colour: str, alpha: float) -> None:
    events = find_runs(active[None, :, None])
    bars = np.stack([events.onset, events.offset - events.onset], axis=1)
    axes.broken_barh(bars, (top, BAR_HEIGHT), facecolor=colour, alpha=alpha, linewidth=0)
