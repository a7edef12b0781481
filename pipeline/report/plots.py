"""Plot training curves, the quality of the pseudo-labels, and the status of the videos."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.core.wording import counted
from pipeline.evaluation.metrics import LEVELS, METRICS, score
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import (
    COLOURS,
    INK,
    LABELS_MARK,
    MODALITY_TITLES,
    MUTED,
    ORACLE_MARK,
    PARSER_MARK,
    ROW_INCHES,
    SPAN,
    UNCALIBRATED_MARK,
    Plot,
    finish_rows,
    legend_above,
    mark_keys,
    new_figure,
    plot_style,
    seeds,
    to_svg,
)
from pipeline.report.trained import Evaluation, TrainedParser

CALIBRATION_CAPTION = (
    " at the vocabulary's thresholds (tuned for the encoders they were published with) and at "
    "thresholds calibrated on the validation split"
)
METRIC_NAMES = MODALITY_TITLES | {"type": "Type@AV", "event": "Event@AV"}


def training_plots(artifacts: Artifacts) -> list[Plot]:
    """Return the curves of training loss and validation F1, with one panel per method."""
    loss = _curves(
        artifacts,
        name="training_loss",
        title="Training loss",
        columns={"loss": "-"},
        caption="Mean total loss per epoch, one line per seed. Methods have different loss terms, "
        "so their values are not comparable.",
    )
    f1 = _curves(
        artifacts,
        name="training_validation",
        title="Validation Type@AV, percent",
        columns={"val_segment_type": "-", "val_event_type": ":"},
        caption="Type@AV on the validation split after each epoch, one line per seed: segment "
        "level (solid) and event level (dotted). The dot marks the selected checkpoint: the epoch "
        "with the highest segment-level value, unless the method selects by another metric.",
    )
    return [loss, f1]


def _curves(
    artifacts: Artifacts, name: str, title: str, columns: Mapping[str, str], caption: str
) -> Plot:
    every = list(artifacts.parsers.values())
    methods = [parsers for parsers in every if parsers[0].curve] or every
    with plot_style():
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
        names = ", ".join(parsers[0].display_name for parsers in methods)
        description = f"{title} over epochs for {names}."
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
        chosen = [row["val_segment_type"] for row in parser.curve if row["epoch"] == parser.epoch]
        axes.plot([parser.epoch] * len(chosen), chosen, "o", color=INK, markersize=4)


def pseudo_label_plots(artifacts: Artifacts) -> list[Plot]:
    """Return one plot per split with the scores of the pseudo-labels and the headline method."""
    if not artifacts.has_unmasked_labels:
        return []
    return [_pseudo_labels(artifacts, split) for split in artifacts.quality]


def _pseudo_labels(artifacts: Artifacts, split: str) -> Plot:
    method = artifacts.headline[0].display_name
    trained = [parser.evaluations[split] for parser in artifacts.headline]
    before = _uncalibrated_scores(artifacts, split)
    name = f"pseudo_labels_{split}"
    title = f"Pseudo-labels on {'validation' if split == 'val' else split}, F1 in percent"
    rows: list[list[object]] = []
    with plot_style():
        figure, panels = new_figure(1.15 + 2 * (0.4 + ROW_INCHES * len(METRICS)), 2)
        for axes, level in zip(panels, LEVELS, strict=True):
            for index, metric in enumerate(METRICS):
                values = _quality_row(artifacts.quality[split], trained, level, metric)
                uncalibrated = before[level][metric] if before else None
                rows.append([level, metric, uncalibrated, *values])
                _draw_quality(axes, index, uncalibrated, values, COLOURS.get(metric, INK))
            finish_rows(axes, list(METRIC_NAMES.values()))
            axes.set_title(f"{level.capitalize()} level")
        keys = {"before calibration": UNCALIBRATED_MARK, "calibrated": LABELS_MARK}
        keys = keys if before else {"pseudo-labels": LABELS_MARK}
        keys |= {"masked with weak labels (oracle)": ORACLE_MARK, method: PARSER_MARK}
        legend_above(figure, mark_keys(keys, INK), columns=2)
        description = (
            f"{title}: pseudo-labels, masked pseudo-labels and {method}. Data: {name}.csv."
        )
        svg = to_svg(figure, name, description)
    caption = (
        f"F1 over {counted(artifacts.quality[split]['unmasked']['videos'], 'video')} of zero-shot "
        f"pseudo-labels{CALIBRATION_CAPTION if before else ''}; of pseudo-labels masked with the "
        f"videos' own weak labels (oracle); and of {method}, {seeds(len(trained))}."
    )
    header = ["level", "metric", "before_calibration", "pseudo_labels", "low", "high", "oracle"]
    header.append(artifacts.headline[0].method)
    return Plot(name, title, caption, description, svg, header, rows)


def _uncalibrated_scores(artifacts: Artifacts, split: str) -> dict[str, dict[str, float]] | None:
    """Return level to metric to F1 in percent at the vocabulary's thresholds.

    Return None if the pseudo-labels were made with those thresholds.
    """
    if not artifacts.is_calibrated:
        return None
    return score(*artifacts.truth(split), *artifacts.uncalibrated_labels(split)).metrics()


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


def _draw_quality(
    axes: Axes, index: int, before: float | None, values: Sequence[float], colour: str
) -> None:
    """Mark the F1 of the pseudo-labels and of the parser, and join the two with a line."""
    labels, _, _, oracle, parser = values
    axes.plot([labels, parser], [index, index], color=colour, **SPAN)
    marks = (LABELS_MARK, ORACLE_MARK, PARSER_MARK)
    for value, mark in zip((labels, oracle, parser), marks, strict=True):
        axes.plot(value, index, color=colour, **mark)
    if before is not None:
        axes.plot(before, index, color=colour, **UNCALIBRATED_MARK)


def data_quality_plot(counts: Sequence[tuple[str, int, int]]) -> Plot:
    """Return a bar chart of the number of videos per status.

    Parameters
    ----------
    counts
        Tuples of status, number of kept videos, number of left-out videos.
    """
    name, title = "data_quality", "Videos by status"
    description = "; ".join(
        f"{status}: {kept} kept, {left_out} left out" for status, kept, left_out in counts
    )
    with plot_style():
        figure, [axes] = new_figure(0.75 + 0.3 * len(counts))
        for index, (_, kept, left_out) in enumerate(counts):
            axes.barh(index, kept, height=0.55, color=INK, alpha=MUTED, linewidth=0)
            if left_out:
                axes.barh(index, left_out, left=kept, height=0.55, color="none", edgecolor=INK)
            axes.annotate(
                f"{kept + left_out:,}",
                (kept + left_out, index),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        finish_rows(axes, [status for status, _, _ in counts], percent=False)
        axes.set_xlim(0, 1.14 * max((kept + out for _, kept, out in counts), default=1))
        axes.set_xlabel("videos")
        svg = to_svg(figure, name, f"{title}. {description}.")
    caption = (
        "Each video of the annotation tables counts once, with its worst status over all stages. "
        "Filled: kept; outlined: left out. Kept videos with a status other than ok were padded."
    )
    header = ["status", "kept", "left_out"]
    return Plot(name, title, caption, f"{title}. {description}.", svg, header, counts)
