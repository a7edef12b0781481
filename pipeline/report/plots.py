"""The plots: training curves, F1 per class, and the pseudo-labels' quality."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.metrics import LEVELS, METRICS
from pipeline.report.artifacts import Artifacts, Evaluation, TrainedParser
from pipeline.report.drawing import (
    COLOURS,
    INK,
    MODALITY_TITLES,
    MUTED,
    Plot,
    legend_above,
    new_figure,
    shown,
    style,
    to_svg,
)
from pipeline.vocabulary import MODALITIES

ROW_INCHES = 0.23

# Marks of the pseudo-labels, of the same with weak labels (an oracle), and of a trained parser.
LABELS_MARK: dict[str, Any] = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none"}
ORACLE_MARK: dict[str, Any] = {"marker": "|", "markersize": 10, "markeredgewidth": 1.6}
PARSER_MARK: dict[str, Any] = {"marker": "o", "markersize": 4.5}

METRIC_NAMES = MODALITY_TITLES | {"type": "Type@AV", "event": "Event@AV"}


def training_plots(artifacts: Artifacts) -> list[Plot]:
    """Return the curves of training loss and of validation F1, a panel per method."""
    loss = _curves(
        artifacts,
        name="training_loss",
        title="Training loss",
        columns={"loss": "-"},
        caption="Mean total loss of each epoch, one line per seed. Losses of different methods "
        "have different terms, so their heights do not compare.",
    )
    f1 = _curves(
        artifacts,
        name="training_validation",
        title="Validation Type@AV, percent",
        columns={"val_segment_type": "-", "val_event_type": ":"},
        caption="Type@AV on the validation split after each epoch, one line per seed: solid at "
        "segment level, dotted at event level. The dot marks the epoch whose checkpoint is kept, "
        "the one with the highest segment-level value.",
    )
    return [loss, f1]


def _curves(
    artifacts: Artifacts, name: str, title: str, columns: Mapping[str, str], caption: str
) -> Plot:
    methods = list(artifacts.parsers.values())
    with style():
        figure, panels = new_figure(0.4 + 1.45 * len(methods), len(methods))
        for axes, parsers in zip(panels, methods, strict=True):
            axes.set_title(parsers[0].display_name)
            for parser in parsers:
                _draw_curve(axes, parser, columns)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
        if "loss" not in columns:
            low = min(axes.get_ylim()[0] for axes in panels)
            high = max(axes.get_ylim()[1] for axes in panels)
            for axes in panels:
                axes.set_ylim(max(low, 0), min(high, 102))
        panels[-1].set_xlabel("epoch")
        description = f"{title} over epochs for {_joined([p[0].display_name for p in methods])}."
        svg = to_svg(figure, name, description)
    rows = [
        [parser.method, parser.seed, int(epoch["epoch"]), *(epoch[column] for column in columns)]
        for parsers in methods
        for parser in parsers
        for epoch in parser.curve
    ]
    header = ["method", "seed", "epoch", *columns]
    return Plot(name, title, caption, description, svg, header, rows)


def _draw_curve(axes: Axes, parser: TrainedParser, columns: Mapping[str, str]) -> None:
    epochs = [row["epoch"] for row in parser.curve]
    for column, line in columns.items():
        values = [row[column] for row in parser.curve]
        axes.plot(epochs, values, line, color=INK, alpha=MUTED, linewidth=1)
    if "val_segment_type" in columns and parser.curve:
        best = max(parser.curve, key=lambda row: row["val_segment_type"])
        axes.plot(best["epoch"], best["val_segment_type"], "o", color=INK, markersize=4)


def per_class_plots(artifacts: Artifacts) -> list[Plot]:
    """Return each class's F1 of the headline method against the pseudo-labels, per modality."""
    return [_per_class(artifacts, modality) for modality in MODALITIES]


def _per_class(artifacts: Artifacts, modality: str) -> Plot:
    method = artifacts.headline[0].display_name
    labels = artifacts.quality["test"]["unmasked"]["per_class"]["segment"][modality]
    by_seed = [
        parser.evaluations["test"]["per_class"]["segment"][modality]
        for parser in artifacts.headline
    ]
    rows: list[tuple[str, float | None, float | None]] = [
        (class_name, labels[class_name], _mean_f1([f1[class_name] for f1 in by_seed]))
        for class_name in artifacts.vocabulary.names
    ]
    title = f"{MODALITY_TITLES[modality]} F1 per class, percent"
    name = f"per_class_{modality}"
    description = f"{title}, {method} against the pseudo-labels; the numbers are in {name}.csv."
    with style():
        figure, [axes] = new_figure(0.75 + ROW_INCHES * len(rows))
        for place, (_, label_f1, method_f1) in enumerate(rows):
            _draw_dumbbell(axes, place, label_f1, method_f1, COLOURS[modality])
        _finish_rows(axes, [shown(class_name) for class_name in artifacts.vocabulary.names])
        keys = {"pseudo-labels": LABELS_MARK, method: PARSER_MARK}
        legend_above(figure, _keys(keys, COLOURS[modality]))
        svg = to_svg(figure, name, description)
    caption = (
        f"Segment-level F1 of each class on the test split, from the counts of all its videos "
        f"together; {method} is the mean of {_seeds(len(by_seed))}. A class without a mark is "
        f"neither annotated nor predicted."
    )
    header = ["class", "pseudo_labels_f1_percent", f"{artifacts.headline[0].method}_f1_percent"]
    return Plot(name, title, caption, description, svg, header, rows)


def _mean_f1(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _draw_dumbbell(
    axes: Axes, place: float, labels_f1: float | None, parser_f1: float | None, colour: str
) -> None:
    """Mark the F1 of the pseudo-labels and of the parser, and draw what lies between."""
    if labels_f1 is not None and parser_f1 is not None:
        axes.plot([labels_f1, parser_f1], [place, place], color=colour, linewidth=1.6, alpha=0.45)
    if labels_f1 is not None:
        axes.plot(labels_f1, place, color=colour, **LABELS_MARK)
    if parser_f1 is not None:
        axes.plot(parser_f1, place, color=colour, **PARSER_MARK)


def pseudo_label_plots(artifacts: Artifacts) -> list[Plot]:
    """Return what the pseudo-labels score, and the headline method beside them, per split."""
    return [_pseudo_labels(artifacts, split) for split in artifacts.quality]


def _pseudo_labels(artifacts: Artifacts, split: str) -> Plot:
    method = artifacts.headline[0].display_name
    labels = artifacts.quality[split]
    trained = [parser.evaluations[split] for parser in artifacts.headline]
    name = f"pseudo_labels_{split}"
    title = f"Pseudo-labels on {'validation' if split == 'val' else split}, F1 in percent"
    rows: list[list[object]] = []
    with style():
        figure, panels = new_figure(0.95 + 2 * (0.4 + ROW_INCHES * len(METRICS)), 2)
        for axes, level in zip(panels, LEVELS, strict=True):
            for place, metric in enumerate(METRICS):
                values = _quality_row(labels, trained, level, metric)
                rows.append([level, metric, *values])
                colour = COLOURS.get(metric, INK)
                _draw_dumbbell(axes, place, values[0], values[-1], colour)
                axes.plot(values[-2], place, color=colour, **ORACLE_MARK)
            _finish_rows(axes, list(METRIC_NAMES.values()))
            axes.set_title(f"{level.capitalize()} level")
        keys = {"pseudo-labels": LABELS_MARK, "masked with weak labels (oracle)": ORACLE_MARK}
        keys[method] = PARSER_MARK
        legend_above(figure, _keys(keys, INK))
        description = f"{title}: pseudo-labels, masked ones, and {method}; see {name}.csv."
        svg = to_svg(figure, name, description)
    caption = (
        f"F1 over {labels['unmasked']['videos']} videos: zero-shot pseudo-labels; those masked "
        f"with the videos' own weak labels, an oracle; and {method}, the mean of "
        f"{_seeds(len(trained))}."
    )
    header = ["level", "metric", "pseudo_labels", "low", "high", "oracle"]
    header.append(artifacts.headline[0].method)
    return Plot(name, title, caption, description, svg, header, rows)


def _quality_row(
    labels: Mapping[str, Evaluation], trained: Sequence[Evaluation], level: str, metric: str
) -> list[float]:
    unmasked = labels["unmasked"]
    return [
        unmasked["metrics"][level][metric],
        *unmasked["intervals"][level][metric],
        labels["masked"]["metrics"][level][metric],
        float(np.mean([evaluation["metrics"][level][metric] for evaluation in trained])),
    ]


def data_quality_plot(counts: Sequence[tuple[str, int, int]]) -> Plot:
    """Return how many videos have each status.

    Parameters
    ----------
    counts
        Status, kept videos, left-out videos.
    """
    name, title = "data_quality", "Videos by status"
    description = "; ".join(
        f"{status}: {kept} kept, {left_out} left out" for status, kept, left_out in counts
    )
    with style():
        figure, [axes] = new_figure(0.75 + 0.3 * len(counts))
        for place, (_, kept, left_out) in enumerate(counts):
            axes.barh(place, kept, height=0.55, color=INK, alpha=MUTED, linewidth=0)
            if left_out:
                axes.barh(place, left_out, left=kept, height=0.55, color="none", edgecolor=INK)
            axes.annotate(
                f"{kept + left_out:,}",
                (kept + left_out, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        _finish_rows(axes, [status for status, _, _ in counts], percent=False)
        axes.set_xlim(0, 1.14 * max((kept + out for _, kept, out in counts), default=1))
        axes.set_xlabel("videos")
        svg = to_svg(figure, name, f"{title}. {description}.")
    caption = (
        "Every video of the annotation tables once, by its worst status over all stages. Filled: "
        "kept; outlined: left out. A kept video with a status other than ok was padded."
    )
    header = ["status", "kept", "left_out"]
    return Plot(name, title, caption, f"{title}. {description}.", svg, header, counts)


def _finish_rows(axes: Axes, labels: Sequence[str], percent: bool = True) -> None:
    """Label horizontal rows, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x")
    if percent:
        axes.set_xlim(-2, 102)
        axes.set_xticks(range(0, 101, 20))


def _keys(marks: Mapping[str, Mapping[str, Any]], colour: str) -> list[Line2D]:
    return [Line2D([], [], linestyle="", color=colour, label=k, **v) for k, v in marks.items()]


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
