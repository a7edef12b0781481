"""``report``: draw a run's result tables, plots and page."""

import argparse
from pathlib import Path

from pipeline.files import RESOURCES
from pipeline.vocabulary import DEFAULT_PATH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the stage's arguments."""
    add = parser.add_argument
    add("--models", type=Path, required=True, help="folder of METHOD/seedS/")
    add("--pseudo-labels", type=Path, required=True, help="folder of the pseudo-labels")
    add("--annotations", type=Path, required=True, help="folder of the annotation tables")
    add("--statuses", type=Path, nargs="+", required=True, help="status tables of all shards")
    add("--check", type=Path, help="the annotations' check table")
    add("--benchmarks", type=Path, help="folder of Snakemake's benchmark files")
    add("--config", type=Path, help="the run's configuration, to be named on the page")
    add("--vocabulary", type=Path, default=DEFAULT_PATH, help="the classes")
    add(
        "--published",
        type=Path,
        default=RESOURCES / "published.yaml",
        help="results that other work reports",
    )
    add(
        "--dataset",
        choices=("llp", "other"),
        default="other",
        help="llp: the run's results stand beside the published ones",
    )
    add("--out", type=Path, required=True, help="folder of the report")


def run(arguments: argparse.Namespace) -> None:
    """Write the report; print the result table and the page's path."""
    from pipeline.report.artifacts import Sources
    from pipeline.report.page import write_report

    sources = Sources(
        models=arguments.models,
        pseudo_labels=arguments.pseudo_labels,
        annotations=arguments.annotations,
        statuses=tuple(arguments.statuses),
        vocabulary=arguments.vocabulary,
        published=arguments.published,
        check=arguments.check,
        benchmarks=arguments.benchmarks,
        config=arguments.config,
        is_llp=arguments.dataset == "llp",
    )
    report = write_report(sources, arguments.out)
    print(f"{report.table}\n\nreport: {report.page}")
