"""The report's page and the list of parsed videos in Chromium, from files."""

from dataclasses import replace
from pathlib import Path

import pytest
from clips import write_clip
from conftest import DESKTOP, FAINT, PHONE
from report_artifacts import write_run

from pipeline.core.errors import ItemError, Status
from pipeline.inference.page import write_index
from pipeline.report.page import write_report

CLIP = "te-_0000000_0_10"
CHOOSE = (
    "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
    "s.dispatchEvent(new Event('change'))"
)
NO_OVERFLOW = "return document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    return write_report(write_run(root, seeds=(0,)), root / "out").page


@pytest.fixture(scope="module")
def with_clip(tmp_path_factory) -> Path:
    """A report beside the file of one test video."""
    root = tmp_path_factory.mktemp("with clip")
    sources = write_run(root, {"link": 0.2}, seeds=(0,))
    videos = root / "my videos"
    videos.mkdir()
    write_clip(videos / f"{CLIP}.mp4", seconds=10, fps=5)
    return write_report(replace(sources, videos=videos), root / "out").page


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
    browser.run(CHOOSE, "split", "val")
    assert {row[1] for row in videos(browser)} == {"validation"}
    browser.run(CHOOSE, "class", "0")
    bars = browser.run("return [...document.querySelectorAll('#videos .bar')].map(b => b.title)")
    assert any(title.startswith("Speech, ") for title in bars)
    assert len(videos(browser)) < 11


def test_every_section_shows_the_chosen_method(browser, report):
    browser.open(report)
    shown = (
        "return ['videos', 'class-table', 'class-confusion', 'state-confusion', 'curves']"
        ".map(id => document.getElementById(id).textContent)"
    )
    link = browser.run(shown)
    assert all(link)
    browser.run(CHOOSE, "method", "1")
    assert all(a != b for a, b in zip(link, browser.run(shown), strict=True) if "Type@AV" not in a)
    browser.run(CHOOSE, "method", "2")
    assert "no probabilities" in browser.run(shown)[-1]
    browser.run(CHOOSE, "method", "0")
    assert browser.run(shown) == link
    assert browser.messages() == []


def test_classes_sort_by_any_column(browser, report):
    browser.open(report)
    column = (
        "return [...document.querySelectorAll('#class-table tbody tr')]"
        ".map(row => row.cells[arguments[0]].textContent)"
    )
    press = "document.querySelectorAll('#class-table thead button')[arguments[0]].click()"
    assert len(browser.run(column, 0)) == 50
    browser.run(press, 2)
    known = [float(text) for text in browser.run(column, 2) if text != "–"]
    assert known == sorted(known, reverse=True)
    assert browser.run(column, 2)[len(known) :] == ["–"] * (50 - len(known))


def test_scores_are_below_the_bars(browser, report):
    browser.open(report)
    tracks = "document.querySelectorAll('#videos .detail .row:not(.head):not(.scale)')"
    rows = browser.run(f"return {tracks}.length")
    assert rows > 0
    assert (
        browser.run(f"return [...{tracks}].filter(r => r.querySelector('.trace')).length") == rows
    )
    title = browser.run("return document.querySelector('#videos .bar').title")
    assert ", mean score 0." in title


def test_a_video_plays_where_its_file_is_there(browser, with_clip):
    browser.open(with_clip)
    open_it = (
        "[...document.querySelectorAll('#videos th button')]"
        ".find(b => b.textContent === arguments[0] && b.ariaExpanded === 'false')?.click()"
    )
    browser.run("document.getElementById('more').click()")
    browser.run(open_it, CLIP)
    assert browser.run("return document.querySelectorAll('video').length") == 1
    browser.wait("return document.querySelector('video').readyState >= 2")
    browser.run("const v = document.querySelector('video'); v.muted = true; v.currentTime = 5")
    now = "return getComputedStyle(document.querySelector('.can-play')).getPropertyValue('--now')"
    browser.wait(f"{now} > 0.45")
    assert browser.messages() == []
    (with_clip.parents[1] / "my videos" / f"{CLIP}.mp4").unlink()
    browser.open(with_clip)
    browser.run("document.getElementById('more').click()")
    browser.run(open_it, CLIP)
    browser.wait("return !document.querySelector('video')")
    assert "Cannot play" in browser.run("return document.getElementById('videos').textContent")


def test_nothing_is_cut_on_paper(browser, report):
    browser.open(report)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    metrics = {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False}  # A4 - 24 mm
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wide = (
        "return [...document.querySelectorAll('table, dd, p, pre, svg')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
    )
    assert browser.run(wide) == []
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


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
