"""Pages on paper: what all of them share is cut nowhere, and dark screens print dark on white."""

from pathlib import Path

import pytest

from pipeline.core import html

# A4 without the margins that Chromium leaves, at 96 pixels per inch.
PAPER = (718, 1000)
ROW = (
    "<tr><th scope='row' class='text wrap'>release of each table, identified by its SHA-256</th>"
    "<td class='text'>AVVP_eval_visual.csv</td><td>1</td><td class='text wrap'>not a known release;"
    f" SHA-256 {'0123456789abcdef' * 4}</td></tr>"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checksum_wraps_and_ink_is_dark(browser, tmp_path: Path, scheme: str):
    page = tmp_path / "page.html"
    style = html.style()
    table = f"<div class='scroll'><table><tbody>{ROW * 3}</tbody></table></div>"
    page.write_text(f"<!doctype html><style>{style}</style><body>{table}")
    browser.open(page, PAPER, scheme)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    command = "Emulation.setEmulatedMedia"
    browser.driver.execute_cdp_cmd(command, {"media": "print", "features": [feature]})
    try:
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        assert browser.run(colours) == ["rgb(27, 28, 30)", "rgb(253, 253, 252)"]
    finally:
        browser.driver.execute_cdp_cmd(command, {"media": "", "features": []})
