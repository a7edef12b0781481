"""A report reads the folders and files that it is given, and nothing that lies beside them."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_artifacts import write_run

from pipeline.core.errors import PipelineError
from pipeline.report.artifacts import read_artifacts
from pipeline.report.provenance import read_costs

HEADER = "s\th:m:s\tmax_rss\tcpu_time\n"


def test_models_of_an_earlier_run_are_not_read(tmp_path: Path) -> None:
    run = write_run(tmp_path, methods={"link": 0.1, "valorpp": 0.5}, seeds=(0, 1))
    [models] = run.models
    earlier = models / "link" / "seed1" / "metrics.json"
    earlier.write_text("of other videos")
    with pytest.raises(PipelineError, match=r"seed1/metrics\.json' is not valid JSON"):
        read_artifacts(run)
    given = replace(run, models=(models / "link" / "seed0", models / "valorpp" / "seed0"))
    parsers = read_artifacts(given).parsers
    assert {method: [each.seed for each in found] for method, found in parsers.items()} == {
        "link": [0],
        "valorpp": [0],
    }


def test_costs_are_of_the_files_that_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    for path in ("train/models/link.tsv", "train/models/gone.tsv", "manifest.tsv"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{HEADER}2.0\t0:00:02\t10\t1\n")
    given = [folder / "train/models/link.tsv", folder / "manifest.tsv"]
    costs = {cost.stage: cost.jobs for cost in read_costs(given)}
    assert costs == {"train": 1, "manifest": 1}
    with pytest.raises(PipelineError, match=r"nope\.tsv' matches no file"):
        read_costs([folder / "nope.tsv"])
    assert [cost.jobs for cost in read_costs([folder / "train/models/*.tsv"])] == [2]
    assert {cost.stage: cost.jobs for cost in read_costs([folder])} == {"train": 2, "manifest": 1}
