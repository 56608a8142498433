"""A real headless browser on a real TensorBoard: what a person would see on each page."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.cli.project import environment

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# CI sets it, so that the tests cannot be skipped there by mistake.
REQUIRED = bool(os.environ.get("TRAINKIT_REQUIRE_BROWSER"))

needs_browser = pytest.mark.skipif(
    not (REQUIRED or (CHROMIUM and CHROMEDRIVER)),
    reason="Debian's packages chromium and chromium-driver are not installed",
)

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-unsafe-swiftshader", "--window-size=1440,900",
)  # fmt: skip

# Elements by CSS selector, in shadow roots too: TensorBoard's older pages are made of those.
_FIND = """
const found = [];
const walk = root => {
  found.push(...root.querySelectorAll(arguments[0]));
  for (const element of root.querySelectorAll('*'))
    if (element.shadowRoot) walk(element.shadowRoot);
};
walk(document);
return found;
"""


# Milliseconds until an element has this text, looked for every 50 of them.
_TIME = """
const [page, selector, text, done] = arguments;
const start = performance.now();
const has = root =>
  [...root.querySelectorAll(selector)].some(element => element.textContent.includes(text)) ||
  [...root.querySelectorAll('*')].some(element => element.shadowRoot && has(element.shadowRoot));
const look = () => {
  if (has(document)) done(performance.now() - start); else setTimeout(look, 50);
};
window.location.hash = page;
look();
"""


class Browser:
    """One window of a headless Chromium.

    Args:
        profile: An empty folder for its profile.
    """

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or "chromium"
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))

    def open(self, url: str) -> None:
        """Open a page as a person would who comes from elsewhere: nothing of the last one stays."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(url)

    def find(self, selector: str) -> list[WebElement]:
        """All elements of this CSS selector, in shadow roots too."""
        found: list[WebElement] = self.driver.execute_script(_FIND, selector)
        return found

    def wait_for(self, what: Callable[[], Any], seconds: float = 40.0) -> Any:
        """What the function returns, as soon as that is true.

        Raises:
            TimeoutError: It was not, for so long.
        """
        until = time.monotonic() + seconds
        error: Exception | None = None
        while time.monotonic() < until:
            try:
                found = what()
            except Exception as raised:  # elements are replaced while a page is being drawn
                error, found = raised, None
            if found:
                return found
            time.sleep(0.2)
        raise TimeoutError(f"waited {seconds:.0f} s at {self.driver.current_url}") from error

    def charts(self, selector: str, count: int = 1) -> list[WebElement]:
        """The first elements with lines in them, once there are so many; empty charts have none."""

        def drawn() -> list[WebElement] | None:
            found: list[WebElement] = []
            for element in self.find(selector):
                if len(found) < count and element.is_displayed() and self.colours(element):
                    found.append(element)
            return found if len(found) == count else None

        charts: list[WebElement] = self.wait_for(drawn)
        return charts

    def colours(self, element: WebElement) -> int:
        """How many clearly different hues are in an element: grey grid lines and text have none."""
        if not element.size["width"] or not element.size["height"]:
            return 0
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        picture = Image.open(io.BytesIO(element.screenshot_as_png)).convert("HSV")
        hue, saturation, value = np.moveaxis(np.asarray(picture), -1, 0)
        strong = hue[(saturation > 100) & (value > 80)] // 16
        return int((np.bincount(strong, minlength=16) > 12).sum())

    def seconds_until(self, page: str, selector: str, text: str) -> float:
        """Go to another page of TensorBoard, and time it until an element has this text.

        The clock is the browser's own: asking it through its driver takes longer than the page.
        """
        self.driver.set_script_timeout(60)
        return float(self.driver.execute_async_script(_TIME, page, selector, text)) / 1000

    def text(self) -> str:
        """All text that can be seen, in shadow roots too."""
        return "\n".join(e.text for e in self.driver.find_elements(By.TAG_NAME, "body"))

    def errors(self) -> list[str]:
        """What the page reported as an error in the console."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]

    def close(self) -> None:
        """End it."""
        self.driver.quit()


@contextmanager
def served(command: Sequence[str], folder: Path) -> Iterator[str]:
    """A TensorBoard that this command starts: the address it serves, all its runs loaded.

    Args:
        command: Of the form `python -m ...`.
        folder: Where it is started.
    """
    if "board" in command:  # two that look for a free port at once may find the same one
        command = [*command, "--port", str(_free_port())]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as board:  # fmt: skip
        try:
            assert board.stdout is not None
            for line in board.stdout:
                if found := re.search(r"TensorBoard [\d.]+ at (http://127\.0\.0\.1:\d+/)", line):
                    yield found[1]
                    return
            raise AssertionError(f"{command} served nothing")
        finally:
            board.terminate()
            board.wait(30)


def _free_port() -> int:
    """A port that nobody listens on: the system gives each caller another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
