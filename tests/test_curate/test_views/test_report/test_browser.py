"""In a real browser: a page of hostile examples runs nothing and has nothing to complain about."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from reported import hostile_rows, proof_document, score

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000",
)  # fmt: skip
CONSOLE = re.compile(r":CONSOLE[:(]\d+\)?\] (.*)")


@dataclass(frozen=True)
class Seen:
    """What a page was after its scripts, and what its console said."""

    dom: str
    console: list[str]


@pytest.fixture
def browse(tmp_path):
    """Open a file in a headless browser without network."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")

    def look(path: Path) -> Seen:
        command = [found, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        done = subprocess.run(
            [*command, path.as_uri()], capture_output=True, text=True, timeout=240, check=True
        )
        return Seen(done.stdout, CONSOLE.findall(done.stderr))

    return look


def test_a_script_would_be_seen_and_so_would_its_error(browse, tmp_path):
    page = tmp_path / "page.html"
    script = "document.title = 'flag'; console.error('noise')"
    page.write_text(f"<title>calm</title><script>{script}</script>", encoding="utf-8")
    seen = browse(page)
    assert "<title>flag</title>" in seen.dom
    assert any("noise" in line for line in seen.console)


def test_hostile_examples_run_nothing_and_the_console_is_silent(
    browse, make_pool, report, proof_file, tmp_path
):
    pool = make_pool(hostile_rows())
    score(pool, "quality", {"value": ("float", lambda n: float(n[1:]))})
    pool.select(rank="quality.value", budget=5)
    name = "<img src=x onerror=\"document.title='flag'\">"
    proof = proof_file(proof_document(methods=("random", name)))
    chosen = pool.select("random", budget=5)
    report(pool, proof=proof, selections=(chosen.id,))
    seen = browse(tmp_path / "report.html")
    assert "<title>Selections report</title>" in seen.dom
    assert seen.console == []
    assert "onerror" in seen.dom and "<img" not in seen.dom
    assert seen.dom.count("<svg") > 8
