"""A real browser on pages that lie on disk: Chromium from the system, driven by Selenium."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.parse.events import Parsed, Thresholds, cut

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

SECONDS = 12
CLASSES = ("Dog", "Speech", "<img/src=x/onerror=hacked=1>")
TITLE = "</script><script>hacked=1</script>.mp4"
DESKTOP, PHONE = (1100, 900), (390, 844)
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root, in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
)


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
    return Parsed(
        name="clip",
        title=TITLE,
        class_names=CLASSES,
        probabilities=cut(probabilities),
        gates=np.ones_like(probabilities),
        thresholds=Thresholds(0.5, 0.5, 0.5),
        has_sound=True,
        has_pictures=True,
        notes=("A note with <b>marks</b>.",),
        provenance={"method": "link"},
    )
