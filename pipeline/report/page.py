"""The report stage: write tables and plots as files, and collect them in one page."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from pipeline.core import html as pages
from pipeline.core.files import write_json, write_text
from pipeline.core.vocabulary import display_name
from pipeline.data.annotation_checks import FINDING_KINDS
from pipeline.report.artifacts import (
    SPLIT_TITLES,
    Artifacts,
    ReportInputs,
    are_released,
    are_taught,
    read_artifacts,
    read_tsv,
)
from pipeline.report.browser import (
    BROWSER_EVENTS_FILE,
    VIDEOS_FILE,
    browser_data,
    write_browser_tables,
)
from pipeline.report.classes import per_class_plots
from pipeline.report.confusion import confusion_plots
from pipeline.report.drawing import Plot, drawing
from pipeline.report.learned import learned_plots
from pipeline.report.plots import (
    data_quality_plot,
    pseudo_label_plots,
    training_plots,
)
from pipeline.report.provenance import PROVENANCE_FILE, StageCost, facts, provenance, read_costs
from pipeline.report.published import PublishedRow, published_markdown, read_published
from pipeline.report.quality import DataQuality, data_quality, read_findings
from pipeline.report.tables import (
    HOW_CALIBRATED,
    HOW_DESCRIBED,
    HOW_LABELLED,
    HOW_RELEASED,
    HOW_TAUGHT,
    ResultRow,
    csv_table,
    markdown,
    result_rows,
    screen_table,
    write_csv,
)
from pipeline.report.timelines import ranked_timelines, showcase, write_timeline_png

_HERE = Path(__file__).parent
# Timeline tracks share the styles of the parse page.
STYLES = (
    _HERE.parent / "core" / "page.css",
    _HERE.parent / "inference" / "page.css",
    _HERE / "videos.css",
)
LEFT_OUT_SHOWN = 200

HOW_RESULTS_SCORED = (
    "F1 in percent, averaged over videos; mean ± sample standard deviation over seeds. A: audio, "
    "V: visual, AV: audio-visual, Type: mean of the three (Type@AV), Event: audio and visual "
    f"events scored together (Event@AV). Videos: scored / in the split. {HOW_LABELLED}"
)
PUBLISHED_TITLE = "Published results on the LLP test split"
DEMO_NOT_COMPARABLE = (
    "Not comparable with the table above: published results use LLP's 1,200 test videos, and this "
    "run uses a different dataset."
)


@dataclass(frozen=True)
class Report:
    """Result of the report stage.

    Attributes
    ----------
    table
        Result table of the test split, for a terminal.
    page
        Path of the HTML page.
    """

    table: str
    page: Path


def write_report(sources: ReportInputs, out: Path) -> Report:
    """Read the results of a run and write its report into ``out``.

    Writes index.html, results.md, results.csv, timeline.png, left_out.csv, cost.csv, videos.csv,
    videos_events.csv, provenance.json, and every plot as SVG with its data as CSV.

    Raises
    ------
    PipelineError
        An input file is missing or malformed.
    """
    artifacts = read_artifacts(sources)
    published = read_published(sources.published)
    rows = {split: result_rows(artifacts, split) for split in SPLIT_TITLES}
    quality = data_quality(artifacts)
    costs = read_costs(sources.benchmarks)
    record = provenance(artifacts, costs)
    write_json(out / PROVENANCE_FILE, record)
    ranked = ranked_timelines(artifacts)
    plots = _plots(artifacts, quality)
    for plot in (plot for group in plots.values() for plot in group):
        plot.write(out)
    write_timeline_png(showcase(ranked), out / "timeline.png")
    write_browser_tables(out, ranked)
    _write_tables(out, artifacts, rows, published, quality, costs)
    context = {
        "rows": rows,
        "headline": _headline(artifacts, rows["test"]),
        "published": published,
        "is_llp": sources.is_llp,
        "how_scored": HOW_RESULTS_SCORED,
        "how_calibrated": " ".join(_how_labelled(artifacts)),
        "how_described": HOW_DESCRIBED,
        "published_title": PUBLISHED_TITLE,
        "not_comparable": DEMO_NOT_COMPARABLE,
        "plots": plots,
        "headline_parser": artifacts.headline[0],
        "data": pages.as_json(browser_data(ranked)),
        "videos_file": VIDEOS_FILE,
        "events_file": BROWSER_EVENTS_FILE,
        "thresholds": read_tsv(sources.pseudo_labels / "thresholds.tsv"),
        "quality": quality,
        "left_out_shown": LEFT_OUT_SHOWN,
        "findings": read_findings(sources.check),
        "kinds": FINDING_KINDS,
        "costs": costs,
        "facts": facts(record),
        "configuration": record["configuration"],
    }
    write_text(out / "index.html", render_page(context))
    return Report(screen_table(rows["test"]), out / "index.html")


def render_page(context: dict[str, Any]) -> str:
    """Return the HTML page; everything except its plots, styles and script is escaped."""
    script, script_hash = pages.script_and_hash(_HERE / "videos.js")
    assets = {
        "style": pages.style(*STYLES),
        "script": script,
        "script_hash": script_hash,
    }
    return pages.render(
        _HERE / "page.html.j2", context | assets, drawing=drawing, display_name=display_name
    )


def _plots(artifacts: Artifacts, quality: DataQuality) -> dict[str, list[Plot]]:
    return {
        "training": training_plots(artifacts),
        "per_class": per_class_plots(artifacts),
        "confusion": confusion_plots(artifacts),
        "pseudo_labels": pseudo_label_plots(artifacts),
        "learned": learned_plots(artifacts),
        "data_quality": [data_quality_plot(quality.counts)] if quality.counts else [],
    }


def _how_labelled(artifacts: Artifacts) -> list[str]:
    """Return what must be known of the pseudo-labels to read the results."""
    meta = artifacts.labels.meta
    calibrated = [HOW_CALIBRATED] if artifacts.is_calibrated else []
    taught = [HOW_TAUGHT] if are_taught(meta) else []
    return calibrated + taught + ([HOW_RELEASED] if are_released(meta) else [])


def _headline(artifacts: Artifacts, rows: Sequence[ResultRow]) -> dict[str, ResultRow]:
    """Return the rows compared at the top of the page."""
    name = artifacts.headline[0].display_name
    return {
        "parser": next(row for row in rows if row.seeds and row.name == name),
        "labels": rows[0],
    }


def _write_tables(
    out: Path,
    artifacts: Artifacts,
    rows: dict[str, list[ResultRow]],
    published: Sequence[PublishedRow],
    quality: DataQuality,
    costs: Sequence[StageCost],
) -> None:
    parts = [
        "# Results",
        HOW_RESULTS_SCORED,
        *_how_labelled(artifacts),
        "## Test",
        markdown(rows["test"]),
        "## Validation",
        markdown(rows["val"]),
        f"## {PUBLISHED_TITLE}",
        *([] if artifacts.sources.is_llp else [DEMO_NOT_COMPARABLE]),
        HOW_DESCRIBED,
        published_markdown(published),
    ]
    write_text(out / "results.md", "\n\n".join(parts) + "\n")
    write_csv(out / "results.csv", *csv_table([*rows["test"], *rows["val"]]))
    left_out = [astuple(video) for video in quality.left_out]
    write_csv(out / "left_out.csv", ["filename", "split", "status", "detail"], left_out)
    header = ["stage", "jobs", "wall_seconds", "cpu_seconds", "longest_seconds", "memory_mb"]
    write_csv(out / "cost.csv", header, [astuple(cost) for cost in costs])
