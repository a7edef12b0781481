"""The parse page in Chromium, from a file: it plays, seeks, redraws, and asks for nothing."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PHONE, SECONDS, TITLE

from pipeline.annotations import runs
from pipeline.media.audio import executable
from pipeline.parse.events import Parsed
from pipeline.parse.page import write_page
from pipeline.parse.playback import Playback, make_playable
from pipeline.parse.tables import shown
from pipeline.parse.videos import inspect

BIG = 1 << 30


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a clip #1.mp4"
    sources = [f"testsrc=s=320x240:r=10:d={SECONDS}", f"sine=f=440:d={SECONDS}"]
    words = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-c:a", "aac"]
    subprocess.run([executable(), "-v", "error", *words, *codecs, str(path)], check=True)
    return path


@pytest.fixture
def page(tmp_path, parsed, clip) -> Path:
    folder = tmp_path / "a folder #2 %41"
    write_page(folder, parsed, make_playable(clip, inspect(clip), folder, BIG))
    return folder / "index.html"


def expected_bars(parsed: Parsed, threshold: float) -> list[str]:
    at = replace(parsed, thresholds=replace(parsed.thresholds, chosen=threshold))
    found = runs(at.labels())
    rows = zip(found.video, found.class_index, found.onset, found.offset, strict=True)
    return [
        f"{shown(parsed.class_names[index])}, {('heard', 'seen')[track]}, 0:{onset:02} to"
        f" 0:{offset:02}, confidence {parsed.scores[track, onset:offset, index].mean():.2f}"
        for track, index, onset, offset in rows
    ]


def test_it_loads_with_no_message_and_asks_for_nothing(browser, page):
    browser.open(page)
    browser.wait_for_media()
    assert browser.messages() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_names_are_text_and_not_markup(browser, page):
    browser.open(page)
    browser.wait_for_media()
    assert browser.run("return typeof hacked") == "undefined"
    assert browser.run("return document.title").startswith(TITLE)
    assert browser.run("return document.querySelectorAll('img, main b').length") == 0


@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.5, 0.6, 0.75, 0.95])
def test_the_slider_draws_what_the_tables_would_say(browser, page, parsed, threshold):
    browser.open(page)
    browser.run(
        "const s = document.getElementById('threshold'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'))",
        threshold,
    )
    assert browser.bars() == expected_bars(parsed, threshold)
    at = replace(parsed, thresholds=replace(parsed.thresholds, chosen=threshold))
    rows = browser.run(
        "return [...document.querySelectorAll('#rows tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    assert [row[2:] for row in rows if len(row) == 5] == [
        [shown(event.class_name), event.modality, f"{event.confidence:.2f}"]
        for event in at.events()
    ]


def test_a_click_on_a_bar_or_on_the_lane_goes_there(browser, page):
    browser.open(page)
    browser.wait_for_media()
    browser.driver.find_element("css selector", "[aria-label^='Dog, seen']").click()
    browser.wait("return !document.getElementById('media').seeking")
    assert browser.time() == pytest.approx(3, abs=0.05)
    assert browser.run("return document.getElementById('now-seen').textContent") == "Dog"
    lane = browser.run("return document.querySelector('[data-track=\"1\"] .lane')")
    from selenium.webdriver import ActionChains

    quarter = round(browser.run("return arguments[0].clientWidth", lane) / 4)
    ActionChains(browser.driver).move_to_element_with_offset(lane, quarter, 20).click().perform()
    browser.wait("return !document.getElementById('media').seeking")
    assert browser.time() == pytest.approx(SECONDS * 0.75, abs=0.1)
    cursor = browser.run("return document.getElementById('tracks').style.getPropertyValue('--now')")
    assert float(cursor) == pytest.approx(0.75, abs=0.02)


def test_keys_play_seek_and_move_the_threshold(browser, page, parsed):
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.wait_for_media()
    browser.press(" ")
    browser.wait("return document.getElementById('media').currentTime > 0.3")
    browser.press(" ")
    assert browser.run("return document.getElementById('media').paused")
    browser.press("0", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert browser.time() == pytest.approx(2, abs=0.05)
    browser.press(Keys.ARROW_RIGHT, with_shift=True)
    assert browser.time() == pytest.approx(SECONDS, abs=0.05)
    browser.press(Keys.ARROW_LEFT, with_shift=True)
    assert browser.time() == pytest.approx(2, abs=0.05)
    browser.press("[", "[")
    assert browser.run("return document.getElementById('value').textContent") == "0.40"
    assert browser.bars() == expected_bars(parsed, 0.4)
    browser.press("]", "]", "]", "]")
    assert browser.bars() == expected_bars(parsed, 0.6)


def test_tab_walks_through_the_bars_and_enter_goes_there(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.wait_for_media()
    browser.run("document.getElementById('reset').focus()")
    browser.press(Keys.TAB)  # the timeline, which scrolls where the video is long
    labels = []
    for _ in browser.bars():
        browser.press(Keys.TAB)
        labels.append(browser.run("return document.activeElement.ariaLabel"))
    assert labels == browser.bars()
    browser.press(Keys.ENTER)
    browser.wait("return !document.getElementById('media').seeking")
    assert browser.time() == pytest.approx(3, abs=0.05)
    assert browser.run(
        "return [...document.querySelectorAll('button, input, video')].every(e =>"
        " e.ariaLabel || e.textContent.trim() || e.labels?.length)"
    )


def test_the_cursor_follows_the_video(browser, page):
    browser.open(page)
    browser.wait_for_media()
    browser.press(" ")
    cursor = "return Number(document.getElementById('tracks').style.getPropertyValue('--now'))"
    browser.wait(f"{cursor} > 0.04")
    browser.press(" ")
    assert browser.run(cursor) == pytest.approx(browser.time() / SECONDS, abs=0.02)


def test_a_video_beside_the_page_plays(browser, tmp_path, parsed, clip):
    playback = make_playable(clip, inspect(clip), tmp_path, 0)
    assert playback == Playback(tmp_path / "media.mp4", "video/mp4", False)
    write_page(tmp_path, parsed, playback)
    browser.open(tmp_path / "index.html")
    browser.wait_for_media()
    browser.press(" ")
    browser.wait("return document.getElementById('media').currentTime > 0.2")
    assert browser.messages() == []
    assert {Path(url).name for url in browser.requests()} == {"index.html", "media.mp4"}


def test_a_video_that_nothing_plays_still_has_its_timeline(browser, tmp_path, parsed):
    write_page(tmp_path, replace(parsed, has_pictures=False), None)
    browser.open(tmp_path / "index.html")
    assert browser.bars()
    browser.press(" ", "]")
    assert browser.messages() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser, page, screenshot, scheme):
    browser.open(page, PHONE, scheme)
    browser.wait_for_media()
    assert browser.run("return document.documentElement.scrollWidth") == PHONE[0]
    smallest = browser.run(
        "return Math.min(...[...document.querySelectorAll('.bar, #reset')]"
        ".map(e => e.getBoundingClientRect().height))"
    )
    assert smallest >= 24  # WCAG 2.2, target size (minimum)
    assert screenshot(f"parse_phone_{scheme}").stat().st_size > 10_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_on_a_desktop(browser, page, screenshot, scheme):
    browser.open(page, scheme=scheme)
    browser.wait_for_media()
    browser.driver.find_element("css selector", "[aria-label^='Dog, seen']").click()
    assert screenshot(f"parse_desktop_{scheme}").stat().st_size > 10_000
