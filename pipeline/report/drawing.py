"""Shared style of the report's figures, and their export to SVG."""

import html
import io
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.core.files import write_csv, write_text

# Colour-blind-safe modality colours with 3:1 contrast against white and near-black.
# Source: Okabe & Ito, "Color universal design" (2008).
COLOURS = {"audio": "#d55e00", "visual": "#0072b2", "audio_visual": "#009e73"}
MODALITY_TITLES = {"audio": "Audio", "visual": "Visual", "audio_visual": "Audio-visual"}

# Placeholder for the text colour: becomes `currentColor` in SVG, so that a figure works on light
# and dark pages and in print.
INK = "#010203"
FAINT = 0.16  # opacity of grid lines
MUTED = 0.62  # opacity of secondary elements

# Markers of pseudo-labels before and after calibration, of masked pseudo-labels (oracle) and of a
# trained parser. The plot of learned weights uses LABELS_MARK for initial values.
UNCALIBRATED_MARK: dict[str, Any] = {"marker": "x", "markersize": 6}
LABELS_MARK: dict[str, Any] = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none"}
ORACLE_MARK: dict[str, Any] = {"marker": "|", "markersize": 10, "markeredgewidth": 1.6}
PARSER_MARK: dict[str, Any] = {"marker": "o", "markersize": 4.5}
# Line between two values: thin, so that markers stand out; opaque, for 3:1 contrast.
SPAN: dict[str, Any] = {"linewidth": 0.9}

ROW_INCHES = 0.23
WIDTH = 4.9  # inches; 470 px, so that two figures fit side by side and one fills a phone
POINTS_TO_PIXELS = 96 / 72
LONGEST_LABEL = 26  # letters; a longer label would squeeze its figure

PLOT_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": FAINT,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "xtick.major.size": 3,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Plot:
    """A figure and its data.

    Attributes
    ----------
    name
        Stem of its file names and prefix of its SVG ids.
    title
        What it shows, with the unit.
    caption
        How it is computed.
    description
        Text alternative for screen readers.
    svg
        The figure as SVG.
    header, rows
        The data as a table.
    """

    name: str
    title: str
    caption: str
    description: str
    svg: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def write(self, folder: Path) -> None:
        """Write ``{name}.svg`` and ``{name}.csv``."""
        write_text(folder / f"{self.name}.svg", self.svg)
        write_csv(folder / f"{self.name}.csv", self.header, self.rows)


def drawing(plot: Plot) -> Markup:
    """Return the SVG of a plot for a page, unescaped; matplotlib has already escaped its text."""
    return Markup(plot.svg)


def plot_style() -> Any:
    """Return the matplotlib context for drawing and saving figures of the report."""
    return rc_context(PLOT_STYLE)


def new_figure(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of the report's width with stacked panels; call within ``plot_style``."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, list(figure.subplots(panels, 1, squeeze=False)[:, 0])


def text_width(text: str) -> int:
    """Return about how many Latin letters wide a text is; Chinese, Japanese and Korean take two."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def shortened(text: str) -> str:
    """Return a text as a figure's label: cut in the middle if it is too wide for one.

    Tables and CSV files have the whole text.
    """
    if text_width(text) <= LONGEST_LABEL:
        return text
    ends = list(text)
    while text_width("".join(ends)) >= LONGEST_LABEL:
        del ends[len(ends) * 2 // 3]
    middle = len(ends) * 2 // 3
    return f"{''.join(ends[:middle]).rstrip()}…{''.join(ends[middle:]).lstrip()}"


def finish_rows(axes: Axes, labels: Sequence[str], percent: bool = True) -> None:
    """Label horizontal rows, the first at the top."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x")
    if percent:
        axes.set_xlim(-2, 102)
        axes.set_xticks(range(0, 101, 20))


def mark_keys(marks: Mapping[str, Mapping[str, Any]], colour: str) -> list[Line2D]:
    """Return legend handles for markers."""
    return [Line2D([], [], linestyle="", color=colour, label=k, **v) for k, v in marks.items()]


def seeds(count: int) -> str:
    """Return a caption fragment for results over ``count`` seeds."""
    return "one seed" if count == 1 else f"mean over {count} seeds"


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as one SVG element; the same data gives the same bytes.

    Ids are prefixed with ``name``, so that one page can contain several figures. Text remains text
    and takes the colour of the page.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The text stays text, so the reader's fonts show it whatever this machine has.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    body = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    body = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = body.replace(INK, "currentColor")
    width, height = (float(inches) * 72 for inches in figure.get_size_inches())
    label = html.escape(description, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" '
        f'style="max-width:{width * POINTS_TO_PIXELS:.0f}px">{body}'
    )


def legend_above(figure: Figure, handles: Sequence[Artist], columns: int | None = None) -> None:
    """Add a legend at the top left of a figure, in one line or in ``columns`` columns."""
    has_layout = figure.get_layout_engine() is not None
    figure.legend(
        handles=list(handles),
        loc="outside upper left" if has_layout else "upper left",
        ncols=columns or len(handles),
        borderaxespad=0,
        handletextpad=0.4,
        columnspacing=1.4,
    )
