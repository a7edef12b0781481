"""Plot the methods of a comparison with their intervals and letters."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipeline.report.comparison.leaderboard import BoardRow
from pipeline.report.comparison.standings import TYPE_ROWS, Standing
from pipeline.report.drawing import (
    INK,
    MUTED,
    PARSER_MARK,
    ROW_INCHES,
    SPAN,
    Plot,
    finish_rows,
    legend_above,
    mark_keys,
    new_figure,
    plot_style,
    to_svg,
)

SEED_MARK: dict[str, Any] = {"marker": "|", "markersize": 6, "alpha": MUTED}
PUBLISHED_MARK: dict[str, Any] = {"marker": "D", "markersize": 4.5, "markerfacecolor": "none"}


def interval_plots(
    rows: Sequence[BoardRow], published: Mapping[str, Sequence[float]]
) -> list[Plot]:
    """Return one plot of Type@AV per level, with the methods of this run.

    Parameters
    ----------
    rows
        Rows of the leaderboard, best first.
    published
        Name of a row to its published scores, of all metrics.
    """
    return [_interval_plot(rows, published, level) for level in TYPE_ROWS]


def _interval_plot(
    rows: Sequence[BoardRow], published: Mapping[str, Sequence[float]], level: str
) -> Plot:
    name, title = f"compare_{level}", f"{level.capitalize()}-level Type@AV, percent"
    own = [(row, row.standing) for row in rows if row.standing]
    own.sort(key=lambda pair: -pair[0].cells[TYPE_ROWS[level]].mean)
    table: list[list[object]] = []
    with plot_style():
        figure, [axes] = new_figure(0.85 + ROW_INCHES * len(own))
        for index, (row, standing) in enumerate(own):
            values = _values(row, standing, published, level)
            _draw_row(axes, index, *values)
            letters = row.places[level].letters
            _write_letters(axes, index, letters)
            mean, (low, high), by_seed, theirs = values
            seeds_text = " ".join(f"{value:.6g}" for value in by_seed)
            table.append([row.name, mean, low, high, letters, seeds_text, theirs])
        finish_rows(axes, [row.name for row, _ in own], percent=False)
        axes.margins(x=0.04)
        legend_above(figure, _keys(published))
        description = f"{title}: " + "; ".join(f"{cells[0]} {cells[1]:.1f}" for cells in table)
        svg = to_svg(figure, name, description)
    caption = (
        "Mean over seeds with its 95% interval over videos. Methods with a letter in common do not "
        "differ significantly in this metric."
    )
    if published:
        caption += " Published values may have other inputs, which the leaderboard has."
    header = ["method", "percent", "low", "high", "letters", "percent_by_seed", "published"]
    return Plot(name, title, caption, description, svg, header, table)


def _values(
    row: BoardRow, standing: Standing, published: Mapping[str, Sequence[float]], level: str
) -> tuple[float, list[float], list[float], float | None]:
    """Return the mean, its interval, the score of every seed, and the published score."""
    index = TYPE_ROWS[level]
    by_seed = standing.scores[:, index].mean(axis=1).tolist()
    theirs = published[row.name][index] if row.name in published else None
    return row.cells[index].mean, standing.intervals()[index], by_seed, theirs


def _draw_row(
    axes: Axes,
    index: int,
    mean: float,
    ends: Sequence[float],
    by_seed: Sequence[float],
    theirs: float | None,
) -> None:
    axes.plot(ends, [index, index], color=INK, **SPAN)
    if len(by_seed) > 1:
        axes.plot(by_seed, [index] * len(by_seed), color=INK, linestyle="", **SEED_MARK)
    axes.plot(mean, index, color=INK, **PARSER_MARK)
    if theirs is not None:
        axes.plot(theirs, index, color=INK, **PUBLISHED_MARK)


def _write_letters(axes: Axes, index: int, letters: str) -> None:
    """Write the letters of a method at the right edge."""
    axes.annotate(
        letters,
        (1, index),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
    )


def _keys(published: Mapping[str, Sequence[float]]) -> list[Line2D]:
    marks = {"mean": PARSER_MARK, "one seed": SEED_MARK}
    marks |= {"published": PUBLISHED_MARK} if published else {}
    return [*mark_keys(marks, INK), Line2D([], [], color=INK, label="95% interval", **SPAN)]
