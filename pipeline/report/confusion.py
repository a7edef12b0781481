"""Confusion of modality: what is heard and taken for seen, and the reverse."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.data.annotations import Labels
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import INK, WIDTH, Plot, new_figure, plot_style, seeds, to_svg
from pipeline.report.tables import cell

# By audio + 2 visual, in the order of rows and columns; "nothing" last.
STATES = {"heard only": 1, "seen only": 2, "both": 3, "nothing": 0}
HEARD, SEEN = list(STATES).index("heard only"), list(STATES).index("seen only")
# The darkest cell's opacity: text in it stays readable.
DARKEST = 0.4


def confusion_plots(artifacts: Artifacts) -> list[Plot]:
    """Return the confusion of the headline method and of the pseudo-labels on test videos."""
    parsed = artifacts.parsed["test"]
    method = artifacts.headline[0].display_name
    whose = f"{method}, {seeds(len(parsed))}"
    of_method = mean_confusion(parsed[0].truth, [each.predicted for each in parsed])
    of_labels = mean_confusion(artifacts.truth("test"), [artifacts.pseudo_labels("test")])
    labels = "pseudo-labels"
    return [
        _plot("modality_confusion", method, whose, of_method),
        _plot("modality_confusion_labels", labels, f"the {labels}", of_labels),
    ]


def mean_confusion(truth: Labels, trainings: Sequence[Labels]) -> NDArray[np.float64]:
    """Return how many segments of a class are annotated and predicted in which modality.

    Parameters
    ----------
    truth : ``[2, N, T, C]``
        Annotated labels, audio before visual.
    trainings
        Predicted ones of each training, alike.

    Returns
    -------
    ndarray ``[4, 4]``
        Annotated as, predicted as, in the order of ``STATES``; the mean over trainings. What is
        neither annotated nor predicted is not counted: it would outnumber all else.
    """
    order = list(STATES.values())
    counts = [
        np.bincount((4 * _states(truth) + _states(predicted)).ravel(), minlength=16)
        for predicted in trainings
    ]
    mean: NDArray[np.float64] = np.mean(counts, axis=0).reshape(4, 4)[order][:, order]
    mean[-1, -1] = 0
    return mean


def _states(labels: Labels) -> NDArray[np.int64]:
    present = (labels != 0).astype(np.int64)
    states: NDArray[np.int64] = present[0] + 2 * present[1]
    return states


def _plot(name: str, title: str, whose: str, counts: NDArray[np.float64]) -> Plot:
    with np.errstate(invalid="ignore"):
        percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    title = f"Modality, {title}: percent of segments"
    swapped = " ".join(_swapped(percent))
    description = f"{title}. {swapped} The numbers are in {name}.csv."
    with plot_style():
        figure, [axes] = new_figure(0.62 * WIDTH)
        _draw_matrix(axes, counts, percent)
        svg = to_svg(figure, name, description)
    caption = (
        f"{swapped} Segments of a class on test videos as annotated (rows) and as "
        f"predicted by {whose} (columns): percent of the row, and the count below. What is neither "
        "annotated nor predicted is left out, so the last row says how false alarms divide."
    )
    rows = [
        [annotated, predicted, counts[row, column], cell(percent[row, column])]
        for row, annotated in enumerate(STATES)
        for column, predicted in enumerate(STATES)
        if (annotated, predicted) != ("nothing", "nothing")
    ]
    header = ["annotated", "predicted", "segments", "percent_of_annotated"]
    return Plot(name, title, caption, description, svg, header, rows)


def _swapped(percent: NDArray[np.float64]) -> Iterator[str]:
    """Say how much of either modality is taken for the other."""
    for state, other in ((HEARD, SEEN), (SEEN, HEARD)):
        own, wrong = list(STATES)[state], list(STATES)[other]
        share = percent[state, other]
        yield (
            f"Nothing is annotated as {own}."
            if np.isnan(share)
            else f"{share:.1f} % of what is {own} is taken for {wrong}."
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
