"""Plot modality confusion: audible events predicted as visible, and the reverse."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.data.annotations import Labels
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import INK, WIDTH, Plot, new_figure, plot_style, seeds, to_svg
from pipeline.report.tables import cell

# State to audio + 2 visual, in the order of rows and columns.
STATES = {"audible only": 1, "visible only": 2, "both": 3, "neither": 0}
AUDIBLE, VISIBLE = list(STATES).index("audible only"), list(STATES).index("visible only")
# Opacity of the darkest cell; keeps its text readable.
DARKEST = 0.4


def confusion_plots(artifacts: Artifacts) -> list[Plot]:
    """Return the modality confusion of the headline method and of the pseudo-labels on test."""
    parsed = artifacts.parsed["test"]
    method = artifacts.headline[0].display_name
    predicted_by = f"{method}, {seeds(len(parsed))}"
    of_method = mean_confusion(parsed[0].truth, [each.predicted for each in parsed])
    of_labels = mean_confusion(artifacts.truth("test"), [artifacts.pseudo_labels("test")])
    labels = "pseudo-labels"
    return [
        _plot("modality_confusion", method, predicted_by, of_method),
        _plot("modality_confusion_labels", labels, f"the {labels}", of_labels),
    ]


def mean_confusion(truth: Labels, predictions: Sequence[Labels]) -> NDArray[np.float64]:
    """Count the segments of any class by annotated and predicted modality.

    Parameters
    ----------
    truth : ``[2, N, T, C]``
        Annotated labels, audio before visual.
    predictions
        Predicted labels ``[2, N, T, C]`` of each seed.

    Returns
    -------
    ndarray ``[4, 4]``
        Counts by annotated (row) and predicted (column) state, in the order of ``STATES``,
        averaged over seeds. Segments with neither are not counted; they would dominate.
    """
    order = list(STATES.values())
    counts = [
        np.bincount((4 * _states(truth) + _states(predicted)).ravel(), minlength=16)
        for predicted in predictions
    ]
    mean: NDArray[np.float64] = np.mean(counts, axis=0).reshape(4, 4)[order][:, order]
    mean[-1, -1] = 0
    return mean


def _states(labels: Labels) -> NDArray[np.int64]:
    present = (labels != 0).astype(np.int64)
    states: NDArray[np.int64] = present[0] + 2 * present[1]
    return states


def _plot(name: str, title: str, predicted_by: str, counts: NDArray[np.float64]) -> Plot:
    with np.errstate(invalid="ignore"):
        percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    title = f"Modality confusion of {title}, percent"
    swapped = " ".join(_swapped(percent))
    description = f"{title}. {swapped} Data: {name}.csv."
    with plot_style():
        figure, [axes] = new_figure(0.62 * WIDTH)
        _draw_matrix(axes, counts, percent)
        svg = to_svg(figure, name, description)
    caption = (
        f"{swapped} Segments of all classes in the test split, as annotated (rows) and as "
        f"predicted by {predicted_by} (columns): percent of the row, with the count below. "
        "Segments neither annotated nor predicted are excluded, so the last row shows how false "
        "positives are distributed."
    )
    rows = [
        [annotated, predicted, counts[row, column], cell(percent[row, column])]
        for row, annotated in enumerate(STATES)
        for column, predicted in enumerate(STATES)
        if (annotated, predicted) != ("neither", "neither")
    ]
    header = ["annotated", "predicted", "segments", "percent_of_annotated"]
    return Plot(name, title, caption, description, svg, header, rows)


def _swapped(percent: NDArray[np.float64]) -> Iterator[str]:
    """Yield a sentence per modality: the share of its segments predicted as the other one."""
    for state, other in ((AUDIBLE, VISIBLE), (VISIBLE, AUDIBLE)):
        annotated, predicted = (list(STATES)[index].replace(" ", "-") for index in (state, other))
        share = percent[state, other]
        yield (
            f"No segment is annotated as {annotated}."
            if np.isnan(share)
            else f"{share:.1f}% of {annotated} segments are predicted as {predicted}."
        )


def _draw_matrix(axes: Axes, counts: NDArray[np.float64], percent: NDArray[np.float64]) -> None:
    last = len(STATES) - 1
    for row, column in np.ndindex(counts.shape):
        if row == column == last or np.isnan(percent[row, column]):
            axes.text(column, row, "–", ha="center", va="center")
            continue
        alpha = DARKEST * percent[row, column] / 100
        axes.fill_between(
            [column - 0.48, column + 0.48], row - 0.47, row + 0.47, color=INK, alpha=alpha, lw=0
        )
        axes.text(column, row - 0.1, f"{percent[row, column]:.1f}", ha="center", va="center")
        axes.text(
            column,
            row + 0.24,
            f"{counts[row, column]:,.0f}",
            ha="center",
            va="center",
            fontsize=7.5,
        )
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(last + 0.5, -0.5)
    axes.set_xticks(range(len(STATES)), STATES)
    axes.set_yticks(range(len(STATES)), STATES)
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.xaxis.set_label_position("top")
    axes.set_ylabel("annotated")
