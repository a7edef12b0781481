"""The page of a comparison in Chromium, with 16 methods on simulated scores."""

from pathlib import Path

import pytest
from conftest import DESKTOP, FAINT, PHONE
from simulated_board import HOSTILE_NAME, METHODS, write_simulated_page
from test_report_page import NO_OVERFLOW

NARROW = (400, 844)
CHOOSE = (
    "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
    "e.dispatchEvent(new Event('input', {bubbles: true}))"
)
# Text of the cells of a column in the rows that are shown.
COLUMN = """
const heads = [...document.querySelectorAll("#board thead th")].map((head) => head.textContent);
const column = heads.indexOf(arguments[0]);
return [...document.querySelectorAll("#board tbody tr")]
  .filter((row) => !row.hidden)
  .map((row) => row.cells[column].textContent.trim());
"""
SORT = """
[...document.querySelectorAll("#board thead button")]
  .find((button) => button.textContent === arguments[0]).click()
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    return write_simulated_page(tmp_path_factory.mktemp("demo"), is_llp=False)


@pytest.fixture(scope="module")
def llp(tmp_path_factory) -> Path:
    return write_simulated_page(tmp_path_factory.mktemp("llp"), is_llp=True)


def numbers(browser, title: str) -> list[float]:
    return [float(text.split()[0]) for text in browser.run(COLUMN, title) if text[0] != "–"]


@pytest.mark.parametrize("size", [DESKTOP, NARROW, PHONE], ids=["desktop", "narrow", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_with_no_message_and_asks_for_nothing(
    browser, demo, screenshot, size, scheme
):
    browser.open(demo, size, scheme)
    assert browser.messages() == []
    assert browser.requests() == [demo.as_uri()]
    assert browser.run(NO_OVERFLOW)
    assert browser.run(FAINT) == []
    assert HOSTILE_NAME in browser.run("return document.body.innerText")
    assert screenshot(f"compare_{size[0]}_{scheme}").stat().st_size > 10_000


def test_every_column_sorts_both_ways(browser, llp):
    browser.open(llp)
    for view in ("overview", "scores", "training"):
        browser.run(CHOOSE, "view", view)
        titles = browser.run(
            "return [...document.querySelectorAll('#board thead button')]"
            ".filter(b => b.offsetParent).map(b => b.textContent)"
        )
        assert len(titles) >= 10
        for title in titles:
            browser.run(SORT, title)
            once = browser.run(COLUMN, title)
            browser.run(SORT, title)
            twice = browser.run(COLUMN, title)
            known = [text for text in once if text[0] != "–"]
            assert once[: len(known)] == known, f"unknown values of {title} are last"
            assert twice[: len(known)] == [text for text in twice if text[0] != "–"]
            assert sorted(once) == sorted(twice)
    assert browser.messages() == []


def test_scores_start_with_the_best_and_names_with_the_first(browser, llp):
    browser.open(llp)
    assert numbers(browser, "seg. Type") == sorted(numbers(browser, "seg. Type"), reverse=True)
    browser.run(SORT, "ev. Type")
    assert numbers(browser, "ev. Type") == sorted(numbers(browser, "ev. Type"), reverse=True)
    browser.run(SORT, "ev. Type")
    assert numbers(browser, "ev. Type") == sorted(numbers(browser, "ev. Type"))
    browser.run(SORT, "seg. rank")
    assert numbers(browser, "seg. rank") == sorted(numbers(browser, "seg. rank"))
    browser.run(SORT, "Method")
    names = [name.lower() for name in browser.run(COLUMN, "Method")]
    assert names == sorted(names)
    sorted_by = "return [...document.querySelectorAll('#board th[aria-sort]')].map(h => h.ariaSort)"
    assert browser.run(sorted_by) == ["ascending"]


def test_rows_are_filtered_by_text_inputs_labels_and_source(browser, llp):
    browser.open(llp)
    everything = len(browser.run(COLUMN, "Method"))
    browser.run(CHOOSE, "source", "own")
    assert len(browser.run(COLUMN, "Method")) == len(METHODS)
    assert browser.text("shown") == f"{len(METHODS)} of {everything} rows."
    browser.run(CHOOSE, "labels", "weak labels")
    assert set(browser.run(COLUMN, "Labels")) == {"weak labels"}
    browser.run(CHOOSE, "search", "dg-sct TEMPORAL")
    assert browser.run(COLUMN, "Method") == ["DG-SCT, temporal part"]
    browser.run(CHOOSE, "search", "no such method")
    assert browser.text("shown") == f"0 of {everything} rows."
    browser.run("document.querySelector('#filters button').click()")
    browser.wait(f"return document.getElementById('shown').textContent.startsWith('{everything} ')")
    browser.run(CHOOSE, "inputs", "classic")
    browser.run(CHOOSE, "source", "published")
    assert set(browser.run(COLUMN, "Inputs")) == {"classic"}
    assert "this run" not in browser.run(COLUMN, "Source")


def test_it_works_by_keyboard_alone(browser, demo):
    from selenium.webdriver import Keys

    browser.open(demo)
    browser.run("document.getElementById('search').focus()")
    browser.press("u", "w", "a", "v", Keys.ENTER)
    assert browser.run(COLUMN, "Method") == ["UWAV"]
    browser.press(*[Keys.BACKSPACE] * 4)
    assert len(browser.run(COLUMN, "Method")) == len(METHODS)
    browser.run("document.querySelectorAll('#board thead button')[0].focus()")
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "ascending"
    browser.press(Keys.SPACE)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "descending"
    focusable = "return document.querySelector('.scroll').tabIndex"
    assert browser.run(focusable) == 0


def test_without_its_script_every_column_and_row_is_shown(demo):
    text = demo.read_text(encoding="utf-8")
    assert '<table class="scores" id="board">' in text
    assert text.count("<tr data-source=") == len(METHODS)
    assert 'id="filters" hidden' in text
