"""Write the two pictures of the README: the explore page and a report, of the demo's own pool."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from jobs.explored import CURATE, explore_page

ROOT: Final = Path(__file__).resolve().parent.parent
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
MOST_BYTES: Final = 200_000
WAIT_S: Final = 60


def main() -> int:
    """Make the store unless one is given, look at it in a browser, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, help="a store to show instead of the demo's")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", help="folder of the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        store = options.store or _demo_store(Path(work))
        options.out.mkdir(exist_ok=True)
        with _browser(work) as browser:
            with explore_page(store, "ana") as url:
                _explore_picture(browser, url, options.out / "explore.png")
            report = Path(work) / "report.html"
            _curate("report", "-o", str(report), "--store", str(store))
            _report_picture(browser, report, options.out / "report.png")
    for name in ("explore.png", "report.png"):
        size = (options.out / name).stat().st_size
        print(f"wrote {options.out / name} ({size / 1000:.0f} kB)")
        if size > MOST_BYTES:
            print(f"that is more than {MOST_BYTES / 1000:.0f} kB", file=sys.stderr)
            return 1
    return 0


def _demo_store(folder: Path) -> Path:
    """Run the demo and cluster its pool; return its store."""
    demo = folder / "demo"
    _curate("demo", "--dir", str(demo), "--quiet")
    store = demo / "curate.duckdb"
    _curate(
        "score",
        "--scorer",
        "embedding",
        "--model",
        str(demo / "model"),
        "--store",
        str(store),
        "-q",
    )
    _curate("score", "--scorer", "clusters", "--set", "k=16", "--store", str(store), "-q",
            "--model", str(demo / "model"))  # fmt: skip
    return store


def _curate(*words: str) -> None:
    subprocess.run(
        [sys.executable, "-c", CURATE, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
    )


@contextmanager
def _browser(work: str) -> Iterator[Any]:
    from selenium import webdriver

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        raise SystemExit(f"no browser with chromedriver here: none of {', '.join(BROWSERS)}")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for flag in (*FLAGS, f"--user-data-dir={work}/profile", "--window-size=1280,820"):
        options.add_argument(flag)
    opened = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    try:
        yield opened
    finally:
        opened.quit()


def _explore_picture(browser: Any, url: str, path: Path) -> None:
    """Show the pool filtered and sorted by a score, with two marks and the embedding map."""
    browser.get(url)
    _until(browser, "return document.querySelectorAll('#rows .prompt').length > 0")
    browser.execute_script(
        "document.getElementById('where').value = 'likelihood.mean_logp > -2';"
        "document.getElementById('ask').requestSubmit();"
        "const sort = document.getElementById('sort');"
        "sort.value = [...sort.options].map((o) => o.value).find((v) => v.endsWith('.mean_logp'));"
        "sort.dispatchEvent(new Event('change'));"
        "document.getElementById('tab-map').click();"
    )
    _until(browser, "return document.querySelectorAll('.map-legend li, .ramp').length > 0")
    _until(browser, "return !document.querySelector('body.waiting')")
    for row, mark in ((0, "out"), (2, "in")):
        script = "document.querySelectorAll('#rows tbody tr')[arguments[0]].querySelector(arguments[1]).click()"
        browser.execute_script(script, row, f"[data-mark={mark}]")
        _until(browser, f"return document.querySelectorAll('tr.marked-{mark}').length > 0")
    browser.execute_script("document.activeElement.blur()")
    time.sleep(0.5)
    browser.save_screenshot(str(path))


def _report_picture(browser: Any, report: Path, path: Path) -> None:
    """Show the report of the store where its charts are."""
    browser.get(report.as_uri())
    browser.set_window_size(1160, 1000)
    browser.execute_script(
        "const chart = [...document.querySelectorAll('h2')].find((h) => /score/i.test(h.textContent));"
        "(chart ?? document.body).scrollIntoView();"
    )
    time.sleep(0.5)
    browser.save_screenshot(str(path))


def _until(browser: Any, script: str) -> None:
    ends = time.monotonic() + WAIT_S
    while not browser.execute_script(script):
        if time.monotonic() > ends:
            raise SystemExit(f"the page did not become what it should: {script}")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
