"""The report stage: write tables and plots as files, and collect them in one page."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from pipeline.core import html as pages
from pipeline.core.files import write_csv, write_json, write_text
from pipeline.core.vocabulary import display_name
from pipeline.data.annotation_checks import FINDING_KINDS
from pipeline.report.artifacts import (
    SPLIT_TITLES,
    Artifacts,
    ReportInputs,
    read_artifacts,
    read_tsv,
)
from pipeline.report.browser import BROWSER_EVENTS_FILE, VIDEOS_FILE
from pipeline.report.classes import CLASSES_FILE
from pipeline.report.confusion import CLASS_CONFUSION_FILE, MODALITY_CONFUSION_FILE
from pipeline.report.curves import PRECISION_RECALL_FILE, SWEEP_FILE
from pipeline.report.details import Details, write_details
from pipeline.report.drawing import Plot, drawing
from pipeline.report.headline import leads
from pipeline.report.learned import learned_plots
from pipeline.report.paired import PAIRS_FILE
from pipeline.report.plots import (
    data_quality_plot,
    pseudo_label_plots,
    training_plots,
)
from pipeline.report.provenance import PROVENANCE_FILE, StageCost, facts, provenance, read_costs
from pipeline.report.published import PublishedRow, published_markdown, read_published
from pipeline.report.quality import DataQuality, data_quality, read_findings
from pipeline.report.tables import (
    HOW_DESCRIBED,
    HOW_LABELLED,
    HOW_MARKED,
    ResultRow,
    best_of_columns,
    csv_table,
    how_labelled,
    markdown,
    marked_rows,
    result_rows,
    screen_table,
)
from pipeline.report.timelines import TIMELINE_FILE, ranked_timelines, showcase, timeline_svg
from pipeline.report.titles import encoder_lines, run_title

_HERE = Path(__file__).parent
# Timeline tracks share the styles of the parse page.
STYLES = (_HERE.parent / "inference" / "page.css", _HERE / "report.css")
SCRIPTS = tuple(_HERE / name for name in ("tables.js", "details.js", "videos.js"))
LEFT_OUT_SHOWN = 200

TITLE = "Audio-visual video parsing"
HOW_RESULTS_SCORED = (
    "F1 in percent, averaged over videos; mean ± sample standard deviation over seeds. A: audio, "
    "V: visual, AV: audio-visual, Type: mean of the three (Type@AV), Event: audio and visual "
    f"events scored together (Event@AV). Videos: scored / in the split. {HOW_LABELLED} {HOW_MARKED}"
)
PUBLISHED_TITLE = "Published results on the LLP test split"
# Tables of every method that the page links beside what it shows of one.
METHOD_TABLES = {
    "classes": CLASSES_FILE,
    "class_confusion": CLASS_CONFUSION_FILE,
    "modality_confusion": MODALITY_CONFUSION_FILE,
    "sweep": SWEEP_FILE,
    "precision_recall": PRECISION_RECALL_FILE,
    "videos": VIDEOS_FILE,
    "events": BROWSER_EVENTS_FILE,
    "pairs": PAIRS_FILE,
}


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

    Writes index.html, results.md, results.csv, timeline.svg, left_out.csv, cost.csv,
    provenance.json, the tables in ``METHOD_TABLES``, and every plot as SVG with its data as CSV.

    Raises
    ------
    PipelineError
        An input file is missing or malformed.
    """
    artifacts = read_artifacts(sources)
    published = read_published(sources.published) if sources.is_llp else ()
    rows = {split: result_rows(artifacts, split) for split in SPLIT_TITLES}
    quality = data_quality(artifacts)
    costs = read_costs(sources.benchmarks)
    record = provenance(artifacts, costs)
    write_json(out / PROVENANCE_FILE, record)
    ranked = ranked_timelines(artifacts)
    plots = _plots(artifacts, quality)
    for plot in (plot for group in plots.values() for plot in group):
        plot.write(out)
    write_text(out / TIMELINE_FILE, timeline_svg(showcase(ranked)))
    details = write_details(artifacts, ranked, out)
    _write_tables(out, artifacts, rows, published, quality, costs, record)
    context = {
        "title": run_title(TITLE, sources.dataset),
        "notice": record["notice"],
        "how_scored": HOW_RESULTS_SCORED,
        "how_calibrated": " ".join(how_labelled(artifacts.labels.meta)),
        "plots": plots,
        "thresholds": read_tsv(sources.pseudo_labels / "thresholds.tsv"),
        "quality": quality,
        "left_out_shown": LEFT_OUT_SHOWN,
        "findings": read_findings(sources.check),
        "kinds": FINDING_KINDS,
        "costs": costs,
        "facts": facts(record),
        "configuration": record["configuration"],
        "files": METHOD_TABLES,
        **_result_context(rows, published, details),
    }
    write_text(out / "index.html", render_page(context))
    return Report(screen_table(rows["test"]), out / "index.html")


def render_page(context: dict[str, Any]) -> str:
    """Return the HTML page; everything except its plots, styles and scripts is escaped."""
    script, script_hash = pages.script_and_hash(*SCRIPTS)
    assets = {
        "style": pages.style(*STYLES),
        "script": script,
        "script_hash": script_hash,
    }
    return pages.render(
        _HERE / "page.html.j2", context | assets, drawing=drawing, display_name=display_name
    )


def _result_context(
    rows: Mapping[str, Sequence[ResultRow]],
    published: Sequence[PublishedRow],
    details: Details,
) -> dict[str, Any]:
    """Return what the page shows of the results of all methods."""
    own = [row for row in rows["test"] if row.seeds and row.is_ranked]
    marks = best_of_columns([*(work.cells for work in published), *(row.cells for row in own)])
    return {
        "tables": {
            split: list(zip(of_split, marked_rows(of_split), strict=True))
            for split, of_split in rows.items()
        },
        "leads": leads(rows["test"], details.pairs),
        "scored": own[0],
        "pairs": details.pairs,
        "published": list(zip(published, marks[: len(published)], strict=True)),
        "beside_published": list(zip(own, marks[len(published) :], strict=True)),
        "published_title": PUBLISHED_TITLE,
        "how_described": HOW_DESCRIBED,
        "method_names": details.names,
        "details": pages.as_json(details.methods),
        "videos": pages.as_json(details.videos),
    }


def _plots(artifacts: Artifacts, quality: DataQuality) -> dict[str, list[Plot]]:
    return {
        "training": training_plots(artifacts),
        "pseudo_labels": pseudo_label_plots(artifacts),
        "learned": learned_plots(artifacts),
        "data_quality": [data_quality_plot(quality.counts)] if quality.counts else [],
    }


def _write_tables(
    out: Path,
    artifacts: Artifacts,
    rows: Mapping[str, Sequence[ResultRow]],
    published: Sequence[PublishedRow],
    quality: DataQuality,
    costs: Sequence[StageCost],
    record: Mapping[str, Any],
) -> None:
    parts = [
        f"# {run_title('Results', artifacts.sources.dataset)}",
        *encoder_lines(record["encoders"]),
        HOW_RESULTS_SCORED,
        *how_labelled(artifacts.labels.meta),
        "## Test",
        markdown(rows["test"]),
        "## Validation",
        markdown(rows["val"]),
    ]
    if published:
        parts += [f"## {PUBLISHED_TITLE}", HOW_DESCRIBED, published_markdown(published)]
    write_text(out / "results.md", "\n\n".join(parts) + "\n")
    both = [*rows["test"], *rows["val"]]
    write_csv(out / "results.csv", *csv_table(both, record["notice"]))
    left_out = [astuple(video) for video in quality.left_out]
    write_csv(out / "left_out.csv", ["filename", "split", "status", "detail"], left_out)
    header = ["stage", "jobs", "wall_seconds", "cpu_seconds", "longest_seconds", "memory_mb"]
    write_csv(out / "cost.csv", header, [astuple(cost) for cost in costs])
