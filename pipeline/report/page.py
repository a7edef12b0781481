"""The report stage: tables, plots and timelines as files, and all of them in one page."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.files import write_text
from pipeline.oddities import KINDS
from pipeline.report.artifacts import SPLITS, Artifacts, Sources, read_artifacts, read_tsv
from pipeline.report.drawing import COLOURS, Plot
from pipeline.report.plots import (
    data_quality_plot,
    per_class_plots,
    pseudo_label_plots,
    training_plots,
)
from pipeline.report.provenance import StageCost, provenance, read_costs
from pipeline.report.quality import DataQuality, data_quality, read_oddities
from pipeline.report.tables import (
    PublishedRow,
    ResultRow,
    csv_table,
    markdown,
    published_markdown,
    read_published,
    result_rows,
    write_csv,
)
from pipeline.report.timelines import (
    chosen,
    ranked_timelines,
    showcase,
    timeline_plot,
    write_timeline_png,
)

HERE = Path(__file__).parent
LEFT_OUT_SHOWN = 200

HOW_SCORED = (
    "F1 in percent, averaged over videos. A, V, AV: audio, visual, and both at once; Type: the "
    "mean of the three; Event: audio and visual counted together. Seeds: mean ± sample standard "
    "deviation over trainings. Videos: scored / in the split's table."
)
PUBLISHED_TITLE = "Published results on LLP's test split"
NOT_COMPARABLE = (
    "Not comparable with the table above: those numbers are of LLP's 1,200 test videos, and this "
    "run's are of another corpus."
)


@dataclass(frozen=True)
class Report:
    """What the report stage made.

    Attributes
    ----------
    table
        The result table of the test split, as text.
    page
        The page.
    """

    table: str
    page: Path


def write_report(sources: Sources, out: Path) -> Report:
    """Read a run's artefacts and write its report into ``out``.

    Writes index.html, results.md, results.csv, timeline.png, left_out.csv, cost.csv, and every
    plot as SVG with its numbers as CSV.

    Raises
    ------
    PipelineError
        An artefact is missing or malformed.
    """
    artifacts = read_artifacts(sources)
    published = read_published(sources.published)
    rows = {split: result_rows(artifacts, split) for split in SPLITS}
    quality = data_quality(artifacts)
    costs = read_costs(sources.benchmarks)
    ranked = ranked_timelines(artifacts)
    plots = _plots(artifacts, quality)
    timelines = [
        timeline_plot(timeline, f"timeline_{number}", rank)
        for number, (rank, timeline) in enumerate(chosen(ranked), start=1)
    ]
    for plot in [*(plot for group in plots.values() for plot in group), *timelines]:
        plot.write(out)
    if ranked:
        write_timeline_png(showcase(ranked), out / "timeline.png")
    _write_tables(out, rows, published, quality, costs, sources.is_llp)
    context = {
        "rows": rows,
        "headline": _headline(artifacts, rows["test"]),
        "published": published,
        "is_llp": sources.is_llp,
        "how_scored": HOW_SCORED,
        "published_title": PUBLISHED_TITLE,
        "not_comparable": NOT_COMPARABLE,
        "plots": plots,
        "timelines": timelines,
        "timeline_method": artifacts.headline[0],
        "thresholds": read_tsv(sources.pseudo_labels / "thresholds.tsv"),
        "quality": quality,
        "left_out_shown": LEFT_OUT_SHOWN,
        "oddities": read_oddities(sources.check),
        "kinds": KINDS,
        "costs": costs,
        "facts": provenance(artifacts),
    }
    write_text(out / "index.html", render(context))
    return Report(markdown(rows["test"]), out / "index.html")


def render(context: dict[str, Any]) -> str:
    """Return the page; everything but its own drawings and style is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = _drawing
    css = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.j2").render(context, css=css, colours=COLOURS)


def _drawing(plot: Plot) -> Markup:
    """Return a plot's SVG as it is: matplotlib has escaped the text in it."""
    return Markup(plot.svg)


def _plots(artifacts: Artifacts, quality: DataQuality) -> dict[str, list[Plot]]:
    return {
        "training": training_plots(artifacts),
        "per_class": per_class_plots(artifacts),
        "pseudo_labels": pseudo_label_plots(artifacts),
        "data_quality": [data_quality_plot(quality.counts)] if quality.counts else [],
    }


def _headline(artifacts: Artifacts, rows: Sequence[ResultRow]) -> dict[str, ResultRow]:
    """Return the rows that the page's first lines set side by side."""
    name = artifacts.headline[0].display_name
    return {
        "parser": next(row for row in rows if row.seeds and row.name == name),
        "labels": rows[0],
    }


def _write_tables(
    out: Path,
    rows: dict[str, list[ResultRow]],
    published: Sequence[PublishedRow],
    quality: DataQuality,
    costs: Sequence[StageCost],
    is_llp: bool,
) -> None:
    parts = [
        "# Results",
        HOW_SCORED,
        "## Test",
        markdown(rows["test"]),
        "## Validation",
        markdown(rows["val"]),
        f"## {PUBLISHED_TITLE}",
        *([] if is_llp else [NOT_COMPARABLE]),
        published_markdown(published),
    ]
    write_text(out / "results.md", "\n\n".join(parts) + "\n")
    write_csv(out / "results.csv", *csv_table([*rows["test"], *rows["val"]]))
    left_out = [astuple(video) for video in quality.left_out]
    write_csv(out / "left_out.csv", ["filename", "split", "status", "detail"], left_out)
    header = ["stage", "jobs", "wall_seconds", "cpu_seconds", "longest_seconds", "memory_mb"]
    write_csv(out / "cost.csv", header, [astuple(cost) for cost in costs])
