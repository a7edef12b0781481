"""Timelines: what is annotated and what a parser predicts in one video, heard above seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.annotations import Labels, runs
from pipeline.metrics import score
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    WIDTH,
    Plot,
    legend_above,
    shown,
    style,
    to_svg,
    write_png,
)
from pipeline.vocabulary import MODALITIES

SHOWN_OF_EACH = 2
TRACK_TITLES = {"audio": "Heard", "visual": "Seen"}
ROW_INCHES = 0.3
BAR_HEIGHT = 0.33
LETTER_INCHES = 0.063  # of a letter, about


@dataclass(frozen=True)
class Timeline:
    """One test video.

    Attributes
    ----------
    filename
        Its whole name.
    f1
        Its segment-level Type@AV in percent.
    truth, predicted : ``[2, T, C]``
        Annotated and predicted labels, audio before visual.
    class_names
        The C classes.
    """

    filename: str
    f1: float
    truth: Labels
    predicted: Labels
    class_names: tuple[str, ...]

    @property
    def event_count(self) -> int:
        """Number of annotated events, heard and seen."""
        return len(runs(self.truth).video)

    def tracks(self) -> list[tuple[str, list[int]]]:
        """Return each modality and the classes annotated or predicted in it."""
        occurring = (self.truth | self.predicted).any(axis=1)
        return [
            (modality, np.flatnonzero(occurring[row]).tolist())
            for row, modality in enumerate(MODALITIES)
        ]

    def bars(self) -> list[tuple[str, str, str, int, int]]:
        """Return modality, ``truth`` or ``predicted``, class, onset and offset of every event."""
        found = []
        for kind, labels in (("truth", self.truth), ("predicted", self.predicted)):
            events = runs(labels)
            rows = zip(events.video, events.class_index, events.onset, events.offset, strict=True)
            found += [
                (MODALITIES[track], kind, self.class_names[index], int(onset), int(offset))
                for track, index, onset, offset in rows
            ]
        return found


def ranked_timelines(artifacts: Artifacts) -> list[Timeline]:
    """Return all evaluated test videos as the headline method parses them, hardest first.

    The first seed's predictions are shown. Videos are sorted by their segment-level Type@AV;
    among equal ones, those with fewer annotated events come first.
    """
    truth, predicted = artifacts.truth(), artifacts.predictions(artifacts.headline[0])
    scores = 100 * score(*truth, *predicted).per_video["segment"]["type"]
    timelines = [
        Timeline(name, f1, truth[:, row], predicted[:, row], artifacts.vocabulary.names)
        for row, (name, f1) in enumerate(zip(artifacts.test_names, scores.tolist(), strict=True))
    ]
    return sorted(timelines, key=lambda video: (video.f1, video.event_count, video.filename))


def chosen(ranked: Sequence[Timeline], each: int = SHOWN_OF_EACH) -> list[tuple[str, Timeline]]:
    """Return some of the hardest, the middling and the best videos, each once, with that rank."""
    count = len(ranked)
    starts = {
        "One of the hardest": 0,
        "Near the median": (count - each) // 2,
        "One of the best": count - each,
    }
    picked: dict[int, str] = {}
    for rank, start in starts.items():
        for index in range(max(start, 0), min(max(start, 0) + each, count)):
            picked.setdefault(index, rank)
    return [(rank, ranked[index]) for index, rank in picked.items()]


def showcase(ranked: Sequence[Timeline]) -> Timeline:
    """Return the video with the most annotated events among those from the median up."""
    return max(ranked[len(ranked) // 2 :], key=lambda video: (video.event_count, video.filename))


def timeline_plot(timeline: Timeline, name: str, rank: str) -> Plot:
    """Return a video's timeline as a plot of the report."""
    description = _in_words(timeline)
    with style():
        svg = to_svg(draw_timeline(timeline), name, description)
    header = ["filename", "modality", "kind", "class", "onset_seconds", "offset_seconds"]
    rows = [[timeline.filename, *bar] for bar in timeline.bars()]
    caption = f"{rank}: segment-level Type@AV {timeline.f1:.1f} %."
    return Plot(name, timeline.filename, caption, description, svg, header, rows)


def write_timeline_png(timeline: Timeline, path: Path) -> None:
    """Write a video's timeline as a picture."""
    with style():
        write_png(draw_timeline(timeline), path)


def draw_timeline(timeline: Timeline) -> Figure:
    """Draw a video: a row per class, annotation above prediction; within ``style``."""
    tracks = timeline.tracks()
    figure, axes = _new_tracks(timeline, sum(len(classes) + 1 for _, classes in tracks))
    head = 0
    for row, (modality, classes) in enumerate(tracks):
        colour = COLOURS[modality]
        _label(axes, head, TRACK_TITLES[modality], weight="bold")
        if not classes:
            axes.text(0.1, head, "no event", va="center", alpha=MUTED)
        for place, index in enumerate(classes, start=head + 1):
            _label(axes, place, shown(timeline.class_names[index]))
            _draw_bars(axes, timeline.truth[row, :, index], place - BAR_HEIGHT, INK, MUTED)
            _draw_bars(axes, timeline.predicted[row, :, index], place, colour, 1)
        head += len(classes) + 1
    legend_above(
        figure,
        [
            Patch(color=INK, alpha=MUTED, linewidth=0, label="annotated"),
            Patch(color=COLOURS["audio"], linewidth=0, label="predicted, heard"),
            Patch(color=COLOURS["visual"], linewidth=0, label="predicted, seen"),
        ],
    )
    return figure


def _new_tracks(timeline: Timeline, row_count: int) -> tuple[Figure, Axes]:
    """Return an empty timeline; its margin is the same for all videos of a vocabulary."""
    margin = LETTER_INCHES * max(len(name) for name in timeline.class_names) + 0.1
    below, above = 0.5, 0.32
    height = below + above + ROW_INCHES * row_count
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


def _label(axes: Axes, place: int, text: str, **how: Any) -> None:
    axes.text(
        -0.02, place, text, transform=axes.get_yaxis_transform(), ha="right", va="center", **how
    )


def _draw_bars(axes: Axes, active: Labels, top: float, colour: str, alpha: float) -> None:
    events = runs(active[None, :, None])
    bars = np.stack([events.onset, events.offset - events.onset], axis=1)
    axes.broken_barh(bars, (top, BAR_HEIGHT), facecolor=colour, alpha=alpha, linewidth=0)


def _in_words(timeline: Timeline) -> str:
    events = "; ".join(
        f"{modality} {kind} {shown(name)} {onset} to {offset} s"
        for modality, kind, name, onset, offset in timeline.bars()
    )
    return f"Timeline of {timeline.filename}: {events or 'no events'}."
