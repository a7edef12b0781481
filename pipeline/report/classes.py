"""Plot F1 per class of the headline method, with intervals, and of the pseudo-labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.core.vocabulary import MODALITIES, display_name
from pipeline.data.annotations import Labels
from pipeline.evaluation.metrics import class_intervals
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import (
    COLOURS,
    LABELS_MARK,
    MODALITY_TITLES,
    PARSER_MARK,
    ROW_INCHES,
    SPAN,
    Plot,
    finish_rows,
    legend_above,
    mark_keys,
    new_figure,
    plot_style,
    seeds,
    to_svg,
)
from pipeline.report.tables import cell

ClassRow = tuple[str, float | None, float | None, float | None, float | None]


def per_class_plots(artifacts: Artifacts) -> list[Plot]:
    """Return one plot per modality with the F1 of each class on the test split."""
    parsed = artifacts.parsed["test"]
    truth = parsed[0].truth
    return [
        _plot(artifacts, modality, truth[track], [each.predicted[track] for each in parsed])
        for track, modality in enumerate(MODALITIES)
    ]


def _plot(artifacts: Artifacts, modality: str, truth: Labels, predictions: list[Labels]) -> Plot:
    method = artifacts.headline[0].display_name
    rows = _rows(artifacts, modality, truth, predictions)
    title = f"{MODALITY_TITLES[modality]} F1 per class, percent"
    name = f"per_class_{modality}"
    description = f"{title}: {method} and pseudo-labels. Data: {name}.csv."
    with plot_style():
        figure, [axes] = new_figure(0.75 + ROW_INCHES * len(rows))
        for index, row in enumerate(rows):
            _draw_row(axes, index, row, COLOURS[modality])
        finish_rows(axes, [display_name(class_name) for class_name, *_ in rows])
        keys = {"pseudo-labels": LABELS_MARK, f"{method}, with 95% interval": PARSER_MARK}
        legend_above(figure, mark_keys(keys, COLOURS[modality]))
        svg = to_svg(figure, name, description)
    caption = (
        f"Segment-level F1 of each class on the test split, with counts pooled over videos. "
        f"{method}: {seeds(len(predictions))}. Lines: 95% bootstrap intervals over the "
        f"{truth.shape[0]} videos (1,000 resamples, of those in which the class occurs). Classes "
        f"without a mark are neither annotated nor predicted."
    )
    method_key = artifacts.headline[0].method
    header = ["class", "pseudo_labels_f1_percent", f"{method_key}_f1_percent", "low", "high"]
    return Plot(name, title, caption, description, svg, header, rows)


def _rows(
    artifacts: Artifacts, modality: str, truth: Labels, predictions: list[Labels]
) -> list[ClassRow]:
    labels = artifacts.quality["test"][artifacts.label_kind]["per_class"]["segment"][modality]
    by_seed = [
        parser.evaluations["test"]["per_class"]["segment"][modality]
        for parser in artifacts.headline
    ]
    intervals = (100 * class_intervals(truth, predictions)).tolist()
    return [
        (
            name,
            labels[name],
            _mean_of_known([f1[name] for f1 in by_seed]),
            *map(cell, ends),
        )
        for name, ends in zip(artifacts.vocabulary.names, intervals, strict=True)
    ]


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _draw_row(axes: Axes, index: int, row: ClassRow, colour: str) -> None:
    _, labels_f1, parser_f1, low, high = row
    if low is not None and high is not None:
        axes.plot([low, high], [index, index], color=colour, **SPAN)
    if labels_f1 is not None:
        axes.plot(labels_f1, index, color=colour, **LABELS_MARK)
    if parser_f1 is not None:
        axes.plot(parser_f1, index, color=colour, **PARSER_MARK)
