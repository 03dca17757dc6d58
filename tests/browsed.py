"""The explore page in a headless browser: starting one, and what a person does on the page."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1500,1000",
)  # fmt: skip
WAIT_S = 60


@contextmanager
def headless_browser() -> Iterator[Any]:
    """A headless browser; skipped where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip(f"no browser with chromedriver here: none of {', '.join(BROWSERS)}")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(executable_path=driver)
        opened = webdriver.Chrome(options=options, service=service)
        yield opened
        opened.quit()


class Page:
    """What a person does on the page."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def one(self, css: str) -> Any:
        return self.browser.find_element("css selector", css)

    def all(self, css: str) -> list[Any]:
        return self.browser.find_elements("css selector", css)

    def run(self, script: str, *given: Any) -> Any:
        return self.browser.execute_script(script, *given)

    def until(self, what: str, holds: Any) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            try:
                if found := holds():
                    return found
            except StaleElementReferenceException:
                continue
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come; the page says: {self.one('body').text[:2000]}")

    def press(self, css: str) -> None:
        script = (
            "const one = document.querySelector(arguments[0]); one?.click(); return one !== null"
        )
        self.until(css, lambda: self.run(script, css))

    def opened(self, example_id: str) -> str:
        """Return the text of an open example, once it is there."""
        self.until(example_id, lambda: self.all(f"#example[data-shown='{example_id}'] .message"))
        return self.run("return document.querySelector('#example').textContent")

    def ids(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('#rows tbody tr')].map((row) => row.dataset.id)"
        )

    def shows(self, start: str) -> None:
        self.until(f"count {start!r}", lambda: self.one("#count").text.startswith(start))
        self.until("texts", lambda: not self.all("body.waiting"))

    def type(self, css: str, words: str) -> None:
        field = self.one(css)
        field.clear()
        field.send_keys(words + "\ue007")

    def choose(self, css: str, value: str) -> None:
        self.run(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('change', { bubbles: true }))",
            self.one(css), value,
        )  # fmt: skip

    def column(self, number: int) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('#rows tbody tr')]"
            ".map((row) => row.cells[arguments[0]].textContent)",
            number,
        )

    def complaints(self) -> list[str]:
        return [one["message"] for one in self.browser.get_log("browser")]
