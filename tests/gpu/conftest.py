"""The device that the proofs run on, and a row of the report for every test that has ended."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from harness import device as chosen_device


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the GPU; the CPU in a rehearsal."""
    return chosen_device()


@pytest.fixture(autouse=True)
def _settings_left_alone() -> Iterator[None]:
    """Give back PyTorch's settings and the card's memory: training wants other ones."""
    threads, is_strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(is_strict)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write the row of a test that has run, or that could not be set up."""
    if "ROWS" not in os.environ or (report.when != "call" and report.passed):
        return
    row: dict[str, object] = {"what": report.nodeid.partition("::")[2], "outcome": report.outcome}
    row |= {"seconds": round(report.duration, 2), "found": dict(report.user_properties)}
    if report.failed:
        row["error"] = report.longreprtext.splitlines()[-1][:300]
    with Path(os.environ["ROWS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
