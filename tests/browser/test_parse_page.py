"""The parse page in Chromium, from a file: it plays, seeks, redraws, and asks for nothing."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FAINT, PHONE, SECONDS, TITLE

from pipeline.core.ffmpeg import ffmpeg_path
from pipeline.core.vocabulary import display_name
from pipeline.data.annotations import find_runs
from pipeline.inference.events import Parsed
from pipeline.inference.page import write_page
from pipeline.inference.playback import Playback, make_playable
from pipeline.inference.tables import audacity_labels, events_table, json_text, web_captions
from pipeline.inference.videos import inspect

BIG = 1 << 30


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a clip #1.mp4"
    sources = [f"testsrc=s=320x240:r=10:d={SECONDS}", f"sine=f=440:d={SECONDS}"]
    words = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-c:a", "aac"]
    subprocess.run([ffmpeg_path(), "-v", "error", *words, *codecs, str(path)], check=True)
    return path


@pytest.fixture
def page(tmp_path, parsed, clip) -> Path:
    folder = tmp_path / "a folder #2 %41"
    write_page(folder, parsed, make_playable(clip, inspect(clip), folder, BIG))
    return folder / "index.html"


def with_threshold(parsed: Parsed, threshold: float) -> Parsed:
    return replace(parsed, thresholds=replace(parsed.thresholds, chosen=threshold))


def expected_bars(parsed: Parsed, threshold: float) -> list[str]:
    at = with_threshold(parsed, threshold)
    found = find_runs(at.labels)
    rows = zip(found.video, found.class_index, found.onset, found.offset, strict=True)
    return [
        f"{display_name(parsed.class_names[index])}, {('heard', 'seen')[track]}, 0:{onset:02} to"
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
    browser.slide(threshold)
    assert browser.bars() == expected_bars(parsed, threshold)
    at = with_threshold(parsed, threshold)
    rows = browser.run(
        "return [...document.querySelectorAll('#rows tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    assert [row[2:] for row in rows if len(row) == 5] == [
        [display_name(event.label), event.modality, f"{event.confidence:.2f}"]
        for event in at.events
    ]


def test_a_click_on_a_bar_or_on_the_lane_goes_there(browser, page):
    browser.open(page)
    browser.wait_for_media()
    browser.driver.find_element("css selector", "[aria-label^='Dog, seen']").click()
    browser.wait("return !document.getElementById('media').seeking")
    assert browser.time() == pytest.approx(3, abs=0.05)
    assert browser.text("now-seen") == "Dog"
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
    assert browser.text("value") == "0.40"
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
        labels.append(browser.focus())
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


# Outside the slider's usual range, off its steps, and between two scores.
@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        (0.03, "0.03"),
        (0.97, "0.97"),
        (0.5, "0.50"),
        (0.555, "0.555"),
        (0.55004, "0.55004"),
        (0.0051, "0.0051"),
    ],
)
def test_the_tables_threshold_is_kept_to_the_last_digit(browser, tmp_path, parsed, chosen, written):
    write_page(tmp_path, with_threshold(parsed, chosen), None)
    browser.open(tmp_path / "index.html")
    assert browser.text("value") == written
    assert f"with the threshold {written}." in browser.run("return document.body.innerText")
    assert browser.bars() == expected_bars(parsed, chosen)
    browser.slide(0.8)
    assert float(browser.text("value")) == pytest.approx(0.8, abs=0.006)
    browser.run("document.getElementById('reset').click()")
    assert browser.text("value") == written
    assert browser.bars() == expected_bars(parsed, chosen)
    browser.press(*"[" * 20)
    assert float(browser.text("value")) == min(0.05, chosen)
    browser.press(*"]" * 20)
    assert float(browser.text("value")) == max(0.95, chosen)


def test_the_table_waits_until_the_slider_is_let_go(browser, page, parsed):
    browser.open(page)
    rows = "return document.getElementById('rows').textContent"
    before = browser.run(rows)
    move = (
        "const s = document.getElementById('threshold'); s.value = 0.95;"
        "s.dispatchEvent(new Event(arguments[0]))"
    )
    browser.run(move, "input")
    assert browser.bars() == []
    assert browser.run(rows) == before
    browser.run(move, "change")
    assert browser.run(rows) == "No event at this threshold."


def test_the_keyboard_stays_on_an_event_while_the_threshold_moves(browser, tmp_path, parsed):
    probabilities = {name: values.copy() for name, values in parsed.probabilities.items()}
    probabilities["audio"][2, 0] = 0.6  # so that the event of seconds 2 to 5 shrinks
    write_page(tmp_path, replace(parsed, probabilities=probabilities), None)
    browser.open(tmp_path / "index.html")
    browser.focus("Dog, heard, 0:02")
    browser.press("[", "]", "]", "]", "]")
    assert browser.focus().startswith("Dog, heard, 0:03 to 0:05")
    browser.press("[", "[", "[")
    assert browser.focus().startswith("Dog, heard, 0:02 to 0:05")
    browser.press(*"]" * 9)
    assert browser.bars() == []
    assert browser.focus() == "Timeline"
    browser.run("document.getElementById('reset').click()")
    browser.focus("Go to 0:05, Dog")  # visible alone, with 0.75
    browser.press("[", "]", "]")
    assert browser.focus() == "Go to 0:05, Dog"
    browser.press(*"]" * 5)
    assert browser.run("return document.activeElement.className") == "scroll events"


def test_a_video_that_nothing_plays_still_has_its_timeline(browser, tmp_path, parsed):
    from selenium.webdriver.common.keys import Keys

    write_page(tmp_path, parsed, None)
    browser.open(tmp_path / "index.html")
    browser.driver.find_element("css selector", "[aria-label^='Dog, seen']").click()
    assert browser.text("time") == "0:03 of 0:12"
    assert browser.text("now-seen") == "Dog"
    browser.press(Keys.ARROW_RIGHT, " ")  # for scrolling, where nothing plays
    assert browser.text("time") == "0:03 of 0:12"
    browser.press("0", "]")
    assert browser.text("time") == "0:00 of 0:12"
    assert "play" not in browser.run("return document.querySelector('.keys').textContent")
    assert browser.messages() == []


# ---- a video whose timeline is wider than the window

MINUTES = 10


@pytest.fixture(scope="session")
def long_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "long.m4a"
    words = ["-f", "lavfi", "-i", f"anullsrc=r=8000:d={MINUTES * 60}", "-c:a", "aac", str(path)]
    subprocess.run([ffmpeg_path(), "-v", "error", *words], check=True)
    return path


@pytest.fixture
def long(parsed: Parsed) -> Parsed:
    """The short one again and again, some hundred events."""
    times = (MINUTES * 60 // SECONDS, 1)
    probabilities, gates = (
        {name: np.tile(values, times) for name, values in each.items()}
        for each in (parsed.probabilities, parsed.gates)
    )
    return replace(parsed, probabilities=probabilities, gates=gates)


# Where something lies of the part of the timeline that shows: 0 at the names, 1 at the right end.
PLACE = """
const names = document.querySelector('[data-track] .name').getBoundingClientRect().right;
const right = document.getElementById('timeline').getBoundingClientRect().right;
const lane = document.querySelector('[data-track] .lane').getBoundingClientRect();
const now = Number(document.getElementById('tracks').style.getPropertyValue('--now'));
const at = arguments[0] ? arguments[0].getBoundingClientRect().left : lane.left + now * lane.width;
return (at - names) / (right - names);
"""


def test_a_long_timeline_follows_the_keyboard(browser, tmp_path, long, long_sound):
    from selenium.webdriver.common.keys import Keys

    write_page(tmp_path, long, make_playable(long_sound, inspect(long_sound), tmp_path, BIG))
    browser.open(tmp_path / "index.html")
    browser.wait_for_media()
    browser.focus("Timeline")
    for key, seconds in ((Keys.ARROW_RIGHT, 400), (Keys.ARROW_LEFT, 100)):
        for _ in range(abs(seconds - round(browser.time())) // 10):
            browser.press(key, with_shift=True)
        assert browser.time() == pytest.approx(seconds, abs=0.05)
        assert 0 <= browser.run(PLACE) <= 1


def test_a_long_timeline_scrolls_where_nothing_plays(browser, tmp_path, long):
    from selenium.webdriver.common.keys import Keys

    write_page(tmp_path, long, None)
    browser.open(tmp_path / "index.html")
    browser.focus("Go to 9:50, Dog")
    browser.press(Keys.ENTER)
    assert browser.text("time") == "9:50 of 10:00"
    assert 0 <= browser.run(PLACE) <= 1
    left = "return document.getElementById('timeline').scrollLeft"
    before = browser.run(left)
    browser.focus("Timeline")
    browser.press(Keys.ARROW_LEFT)
    browser.wait(f"{left} < {before}")
    first = browser.run("return document.querySelector('.bar')")
    browser.run("arguments[0].focus()", first)  # as Tab does; not under the names
    assert 0 <= browser.run(PLACE, first) <= 1


def test_a_step_of_the_slider_lays_the_page_out_once(browser, tmp_path, long):
    write_page(tmp_path, long, None)
    browser.open(tmp_path / "index.html")
    assert len(browser.bars()) > 100
    browser.driver.execute_cdp_cmd("Performance.enable", {})

    def layouts() -> float:
        metrics = browser.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return {row["name"]: row["value"] for row in metrics}["LayoutCount"]

    before = layouts()
    browser.slide(0.6)
    assert layouts() - before < 10


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
    assert browser.run(FAINT) == []
    assert screenshot(f"parse_phone_{scheme}").stat().st_size > 10_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_on_a_desktop(browser, page, screenshot, scheme):
    browser.open(page, scheme=scheme)
    browser.wait_for_media()
    browser.driver.find_element("css selector", "[aria-label^='Dog, seen']").click()
    assert screenshot(f"parse_desktop_{scheme}").stat().st_size > 10_000


def downloaded(browser, folder: Path, format_: str) -> str:
    """Press a button that saves the events, and return what it saved."""
    behaviour = {"behavior": "allow", "downloadPath": str(folder), "eventsEnabled": False}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    before = set(folder.glob(f"*.{format_}"))
    browser.run(f"document.querySelector('[data-format={format_}]').click()")
    for _ in range(200):
        if found := set(folder.glob(f"*.{format_}")) - before:
            (path,) = found
            return path.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError(f"nothing was saved as {format_}")


@pytest.mark.parametrize("threshold", [0.5, 0.4, 0.61, 0.95])
def test_what_the_slider_shows_is_saved_as_the_tables_would_have_it(
    browser, tmp_path, parsed, threshold
):
    probabilities = {name: values.copy() for name, values in parsed.probabilities.items()}
    # Means that end in a half: 0.625, 0.87495 and 0.87505.
    probabilities["audio"][2:4, 0] = 0.62, 0.63
    probabilities["visual"][3:7, 1] = 0.8749, 0.875, 0.8751, 0.8750
    parsed = replace(parsed, probabilities=probabilities, title='a, "b".mp4', name='a"b')
    write_page(tmp_path, parsed, None)
    browser.open(tmp_path / "index.html")
    if threshold != parsed.thresholds.chosen:
        browser.slide(threshold)
    at = with_threshold(parsed, threshold)
    assert downloaded(browser, tmp_path, "csv") == events_table(at.name, at.events)
    assert downloaded(browser, tmp_path, "vtt") == web_captions(at.events)
    assert downloaded(browser, tmp_path, "txt") == audacity_labels(at.events)
    value, expected = (
        json.loads(downloaded(browser, tmp_path, "json")),
        json.loads(json_text(at, 0)),
    )
    assert value == {key: expected[key] for key in value}
    assert value["events"] == expected["events"]
    assert value["thresholds"]["chosen"] == threshold
    assert browser.messages() == []


# ---- paper


def test_paper_has_every_event_and_cuts_no_row(browser, tmp_path, long):
    write_page(tmp_path, long, None)
    browser.open(tmp_path / "index.html")
    media = {"media": "print"}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        cut = browser.run(
            "return [...document.querySelectorAll('.events, .timeline')].filter(e =>"
            " e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).length"
        )
        assert cut == 0
        assert browser.run(
            "return [...document.querySelectorAll('.row, tr')].every(e =>"
            " getComputedStyle(e).breakInside === 'avoid')"
        )
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
