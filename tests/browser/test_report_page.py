"""The report's page and the list of parsed videos in Chromium, from files."""

from pathlib import Path

import pytest
from conftest import DESKTOP, PHONE
from report_artifacts import write_run

from pipeline.errors import ItemError, Status
from pipeline.parse.page import write_index
from pipeline.report.page import write_report

NO_OVERFLOW = "return document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    return write_report(write_run(root, seeds=(0,)), root / "out").page


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_loads_with_no_message_and_asks_for_nothing(
    browser, report, screenshot, size, scheme
):
    browser.open(report, size, scheme)
    assert browser.messages() == []
    assert browser.requests() == [report.as_uri()]
    assert browser.run(NO_OVERFLOW)
    assert screenshot(f"report_{size[0]}_{scheme}").stat().st_size > 10_000


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_list_leads_to_every_video(browser, tmp_path, parsed, screenshot, size):
    failures = {"<b>bad</b>": ItemError(Status.NOT_MEDIA, "no known container opens it")}
    write_index(tmp_path, [parsed], failures)
    browser.open(tmp_path / "index.html", size)
    assert browser.messages() == []
    assert browser.run(NO_OVERFLOW)
    link = browser.run("return document.querySelector('table a').href")
    assert link == (tmp_path / "clip/index.html").as_uri()
    assert "<b>bad</b>" in browser.run("return document.body.innerText")
    screenshot(f"parsed_videos_{size[0]}")
