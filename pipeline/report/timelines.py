"""Timelines: what is annotated and what a parser predicts in one video, heard above seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    Plot,
    new_figure,
    shown,
    style,
    to_svg,
    write_png,
)
from pipeline.vocabulary import MODALITIES

SHOWN_OF_EACH = 2
TRACK_TITLES = {"audio": "Heard", "visual": "Seen"}
ROW_INCHES = 0.3
BAR_HEIGHT = 0.32


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
    """Return some of the hardest, the middle and the best videos, each once, with that word."""
    starts = {"hardest": 0, "median": (len(ranked) - each) // 2, "best": len(ranked) - each}
    picked: dict[int, str] = {}
    for rank, start in starts.items():
        for index in range(max(start, 0), min(max(start, 0) + each, len(ranked))):
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
    title = f"{timeline.filename}"
    caption = f"{rank.capitalize()}; segment-level Type@AV {timeline.f1:.1f} %."
    return Plot(name, title, caption, description, svg, header, rows)


def write_timeline_png(timeline: Timeline, path: Path) -> None:
    """Write a video's timeline as a picture."""
    with style():
        write_png(draw_timeline(timeline), path)


def draw_timeline(timeline: Timeline) -> Figure:
    """Draw a video: a row per class, annotation above prediction; within ``style``."""
    tracks = timeline.tracks()
    row_count = sum(max(len(classes), 1) + 1 for _, classes in tracks)
    figure, [axes] = new_figure(0.75 + ROW_INCHES * row_count)
    place = 0
    labels: list[tuple[int, str]] = []
    for row, (modality, classes) in enumerate(tracks):
        axes.text(0, place + 0.3, TRACK_TITLES[modality], color=COLOURS[modality], weight="bold")
        place += 1
        for index in classes:
            colour = COLOURS[modality]
            _draw_bars(axes, timeline.truth[row, :, index], place - 0.18, INK, MUTED)
            _draw_bars(axes, timeline.predicted[row, :, index], place + 0.18, colour, 1)
            labels.append((place, shown(timeline.class_names[index])))
            place += 1
        if not classes:
            axes.text(0.1, place, "nothing", va="center", alpha=MUTED)
            place += 1
    _finish(axes, timeline.truth.shape[1], labels, place)
    return figure


def _draw_bars(axes: Axes, active: Labels, place: float, colour: str, alpha: float) -> None:
    events = runs(active[None, :, None])
    bars = np.stack([events.onset, events.offset - events.onset], axis=1)
    axes.broken_barh(bars, (place - BAR_HEIGHT / 2, BAR_HEIGHT), color=colour, alpha=alpha)


def _finish(axes: Axes, segments: int, labels: Sequence[tuple[int, str]], height: int) -> None:
    axes.set_xlim(0, segments)
    axes.set_ylim(height - 0.4, -0.5)
    axes.set_xticks(range(0, segments + 1, max(1, segments // 10)))
    axes.set_yticks([place for place, _ in labels], [name for _, name in labels])
    axes.grid(axis="x")
    axes.set_xlabel("seconds")
    axes.legend(
        handles=[
            Patch(color=INK, alpha=MUTED, label="annotated"),
            Patch(color=COLOURS["audio"], label="predicted, heard"),
            Patch(color=COLOURS["visual"], label="predicted, seen"),
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        borderaxespad=0.2,
        handlelength=1.1,
        columnspacing=1.2,
    )


def _in_words(timeline: Timeline) -> str:
    events = "; ".join(
        f"{modality} {kind} {shown(name)} {onset} to {offset} s"
        for modality, kind, name, onset, offset in timeline.bars()
    )
    return f"Timeline of {timeline.filename}: {events or 'no events'}."
