"""``report``: write the result tables, plots and page of a run."""

import argparse
import json
from pathlib import Path

from pipeline.cli.shared.arguments import add_annotations, add_published, add_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--models",
        type=Path,
        nargs="+",
        required=True,
        help="folders METHOD/seed{SEED} of trained parsers, or a folder of all",
    )
    add("--pseudo-labels", type=Path, required=True, help="folder of the pseudo-labels")
    add_annotations(parser)
    add("--statuses", type=Path, nargs="+", required=True, help="status tables of all shards")
    add("--check", type=Path, help="table of annotation checks")
    add("--videos", type=Path, help="folder of the video files, to report why some are missing")
    add(
        "--benchmarks",
        type=Path,
        nargs="*",
        default=[],
        help="Snakemake's benchmark files, patterns of their names, or their folder",
    )
    add(
        "--settings",
        type=json.loads,
        default={},
        metavar="JSON",
        help="configuration, recipes and checksums of the run, as the workflow gives them",
    )
    add_vocabulary(parser)
    add_published(parser)
    add("--out", type=Path, required=True, help="folder of the report")


def run(arguments: argparse.Namespace) -> None:
    """Write the report; print the result table and the page's path."""
    from pipeline.report.artifacts import ReportInputs
    from pipeline.report.page import write_report

    sources = ReportInputs(
        models=tuple(arguments.models),
        pseudo_labels=arguments.pseudo_labels,
        annotations=arguments.annotations,
        statuses=tuple(arguments.statuses),
        vocabulary=arguments.vocabulary,
        published=arguments.published,
        check=arguments.check,
        videos=arguments.videos,
        benchmarks=tuple(arguments.benchmarks),
        settings=arguments.settings,
        dataset=arguments.dataset,
    )
    report = write_report(sources, arguments.out)
    print(f"{report.table}\n\nreport: {report.page}")
