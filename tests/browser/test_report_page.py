"""The report's page and the list of parsed videos in Chromium, from files."""

from pathlib import Path

import pytest
from conftest import DESKTOP, FAINT, PHONE
from report_artifacts import write_run

from pipeline.core.errors import ItemError, Status
from pipeline.inference.page import write_index
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
    assert browser.run(FAINT) == []
    assert screenshot(f"report_{size[0]}_{scheme}").stat().st_size > 10_000


def videos(browser) -> list[list[str]]:
    """Return the cells of the listed videos."""
    return browser.run(
        "return [...document.querySelectorAll('#videos tr:not(.detail)')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )


def test_videos_are_sorted_hardest_first_and_by_any_column(browser, report):
    browser.open(report)
    first = videos(browser)
    assert len(first) == 20
    assert [float(row[2]) for row in first] == sorted(float(row[2]) for row in first)
    assert browser.run("return document.querySelectorAll('#videos .detail').length") == 1
    assert browser.run("return document.querySelector('#videos .bar').clientWidth") > 0

    sort = "document.querySelectorAll('#browser thead button')[arguments[0]].click()"
    browser.run(sort, 2)
    easiest = [float(row[2]) for row in videos(browser)]
    assert easiest == sorted(easiest, reverse=True)
    assert easiest[0] > float(first[0][2])
    browser.run(sort, 0)
    names = [row[0] for row in videos(browser)]
    assert names == sorted(names)
    assert browser.run(
        "return [...document.querySelectorAll('#browser th[data-column]')].map(h => h.ariaSort)"
    ) == ["ascending", None, None, None]
    assert browser.messages() == []


def test_videos_are_chosen_by_split_and_class_and_shown_in_parts(browser, report):
    browser.open(report)
    assert browser.run("return document.getElementById('shown').textContent") == "20 of 34 videos."
    browser.run("document.getElementById('more').click()")
    assert len(videos(browser)) == 34
    assert browser.run("return document.getElementById('more').hidden")
    choose = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change'))"
    )
    browser.run(choose, "split", "val")
    assert {row[1] for row in videos(browser)} == {"validation"}
    browser.run(choose, "class", "0")
    bars = browser.run("return [...document.querySelectorAll('#videos .bar')].map(b => b.title)")
    assert any(title.startswith("Speech, ") for title in bars)
    assert len(videos(browser)) < 11


def test_videos_open_by_keyboard_alone(browser, report):
    from selenium.webdriver import Keys

    browser.open(report)
    browser.run("document.querySelector('#videos button').focus()")
    expanded = "return document.activeElement.getAttribute('aria-expanded')"
    assert browser.run(expanded) == "true"
    browser.press(Keys.ARROW_DOWN)
    assert browser.run(expanded) == "false"
    browser.press(Keys.ENTER)
    assert browser.run(expanded) == "true"
    words = browser.run("return document.querySelectorAll('#videos .tracks')[1].ariaLabel")
    assert "annotated" in words
    browser.press(Keys.SPACE)
    assert browser.run(expanded) == "false"
    assert browser.run("return document.querySelectorAll('#videos .detail').length") == 1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_list_leads_to_every_video(browser, tmp_path, parsed, screenshot, size):
    failures = {"<b>bad</b>": ItemError(Status.NOT_MEDIA, "not a supported media file")}
    write_index(tmp_path, [parsed], failures)
    browser.open(tmp_path / "index.html", size)
    assert browser.messages() == []
    assert browser.run(NO_OVERFLOW)
    link = browser.run("return document.querySelector('table a').href")
    assert link == (tmp_path / "clip/index.html").as_uri()
    assert "<b>bad</b>" in browser.run("return document.body.innerText")
    screenshot(f"parsed_videos_{size[0]}")
