"""A real browser on pages that lie on disk: Chromium from the system, driven by Selenium."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from parsed_videos import make_parsed

from pipeline.inference.events import Parsed, floor_decimals

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

SECONDS = 12
CLASSES = ("Dog", "Speech", "<img/src=x/onerror=hacked=1>")
TITLE = "</script><script>hacked=1</script>.mp4"
DESKTOP, PHONE = (1280, 900), (390, 844)
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root, in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
)

# What is fainter, against what is behind it, than WCAG 2.2 asks for at level AA: text below 4.5,
# marks below 3. Behind text in a figure is taken to be the page.
FAINT = """
const numbers = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], under) => [r, g, b].map((x, i) => a * x + (1 - a) * under[i]);
const light = (colour) => colour
  .map((x) => x / 255)
  .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
  .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
const lineage = (e) => (e ? [...lineage(e.parentElement), e] : []);
const behind = (elements) => elements.reduce(
  (under, e) => over(numbers(getComputedStyle(e).backgroundColor), under), [255, 255, 255]);
const ratio = (e, key, ground) => {
  const style = getComputedStyle(e), [r, g, b, a] = numbers(style[key]);
  const own = key === "stroke" ? a * style.strokeOpacity : a;
  const opacity = lineage(e).reduce((all, one) => all * getComputedStyle(one).opacity, own);
  const [high, low] = [over([r, g, b, opacity], ground), ground].map(light).sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
  const isHidden = !e.checkVisibility() || getComputedStyle(e).color === "rgba(0, 0, 0, 0)";
  if (!text || isHidden || e.closest("script, style, select")) continue;
  const found = ratio(e, e.closest("svg") ? "fill" : "color", behind(lineage(e)));
  if (found < 4.5) faint.push([text, found]);
}
for (const [marks, key] of [
  [".bar", "backgroundColor"], [".trace path", "stroke"], [".trace line", "stroke"],
  ["figure path[style*='stroke: #']", "stroke"], // a modality's; of the others are faint grids
]) {
  for (const e of document.querySelectorAll(marks)) {
    const found = ratio(e, key, behind(lineage(e.parentElement)));
    if (found < 3) faint.push([marks, found]);
  }
}
return faint;
"""


def program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no {names[0]} on the PATH; `apt-get install chromium chromium-driver`")
    return found


@pytest.fixture(scope="module")  # its pages would play on beside other tests
def _driver() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(10)
    yield driver
    driver.quit()


class Browser:
    """The driver, and what these tests ask of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        metrics = {
            "width": size[0],
            "height": size[1],
            "deviceScaleFactor": 1,
            "mobile": size == PHONE,
        }
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, seconds: float = 8.0) -> object:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.run(script))

    def wait_for_media(self) -> None:
        self.wait("const m = document.getElementById('media'); return m && m.readyState >= 2")

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened; its own bytes (data:, blob:) are none."""
        events = [
            json.loads(row["message"])["message"] for row in self.driver.get_log("performance")
        ]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def slide(self, threshold: float) -> None:
        """Move the slider and let go of it."""
        self.run(
            "const s = document.getElementById('threshold'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change'))",
            threshold,
        )

    def text(self, identity: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", identity))

    def focus(self, label: str = "") -> str:
        """Give the keyboard to what a label begins with; return the label of what has it."""
        return str(
            self.run(
                "if (arguments[0])"
                " document.querySelector(`[aria-label^='${arguments[0]}']`).focus();"
                "return document.activeElement.ariaLabel",
                label,
            )
        )

    def bars(self) -> list[str]:
        return list(self.run("return [...document.querySelectorAll('.bar')].map(b => b.ariaLabel)"))

    def time(self) -> float:
        return float(self.run("return document.getElementById('media').currentTime"))

    def press(self, *keys: str, with_shift: bool = False) -> None:
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            chain = ActionChains(self.driver, duration=0)
            if with_shift:
                chain.key_down(Keys.SHIFT)
            chain.send_keys(key)
            if with_shift:
                chain.key_up(Keys.SHIFT)
            chain.perform()


@pytest.fixture
def browser(_driver: webdriver.Chrome) -> Browser:
    return Browser(_driver)


@pytest.fixture
def screenshot(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Save what the browser shows, the whole page, to be looked at."""
    folder = tmp_path_factory.getbasetemp() / "screenshots"
    folder.mkdir(exist_ok=True)

    def save(name: str) -> Path:
        width, height = browser.run(
            "const d = document.documentElement; return [d.clientWidth, d.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        picture = browser.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path = folder / f"{name}.png"
        path.write_bytes(base64.b64decode(picture["data"]))
        return path

    return save


@pytest.fixture
def parsed() -> Parsed:
    """Dog is heard 2 to 5 and 8 to 9, seen 3 to 7; Speech is weak; the third is heard always."""
    probabilities = np.full((2, SECONDS, len(CLASSES)), 0.02)
    probabilities[0, 2:5, 0] = 0.9
    probabilities[0, 8:9, 0] = 0.6
    probabilities[1, 3:7, 0] = 0.75
    probabilities[0, 4:10, 1] = 0.42
    probabilities[0, :, 2] = 0.55
    return make_parsed(
        floor_decimals(probabilities),
        CLASSES,
        name="clip",
        title=TITLE,
        notes=("A note with <b>marks</b>.",),
        provenance={"method": "link"},
    )
