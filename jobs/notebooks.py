"""Execute the notebooks of ``reports/`` on the demo and keep small outputs, so that a forge shows them.

Pictures become SVG, without the tooltips that no forge shows. Cells tagged ``timed`` keep no output.
Each notebook records a hash of its sources: with --check, nothing is executed, and a notebook whose
cells changed since is named.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
TIMED: Final = "timed"
TIMEOUT_S: Final = 3_600
_CURATE: Final = "from curate.cli import main; main()"
_FIGURE: Final = re.compile(
    r'<figure><h4>(?P<title>.*?)</h4>(?P<svg><svg class="chart".*?</svg>)'
    r"(?:<figcaption>.*?</figcaption>)?</figure>",
    re.DOTALL,
)
_DRAWING: Final = re.compile(r'<svg class="chart".*?</svg>', re.DOTALL)  # a forge drops it
_TIP: Final = re.compile(r"<title>.*?</title>", re.DOTALL)
_SQUARES: Final = re.compile(
    r'(?:<rect x="[\d.]+" y="[\d.]+" width="[\d.]+" height="[\d.]+" fill="[^"]+"></rect>){20,}'
)
_SQUARE: Final = re.compile(
    r'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="([^"]+)"'
)
_VIEW: Final = re.compile(r'width="([\d.]+)" height="([\d.]+)" viewBox="0 0 [\d.]+ [\d.]+"')
_TITLE_HEIGHT: Final = 26


def main() -> int:
    """Execute the notebooks that changed, or with ``--check`` name them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; exit 1 if out of date"
    )
    parser.add_argument("--all", action="store_true", help="execute those that are current as well")
    parser.add_argument("--demo", type=Path, help="folder of a finished demo; default: run it")
    options = parser.parse_args()
    paths = sorted((ROOT / "reports").glob("*.ipynb"))
    stale = [path for path in paths if options.all or not is_current(path)]
    if options.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date; run: make notebooks", file=sys.stderr)
        return 1 if stale else 0
    if not stale:
        return 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "reports"
        folder.mkdir()
        demo = Path(work) / "curate-demo"  # where the notebooks look for it
        if options.demo is None:
            subprocess.run(
                [sys.executable, "-c", _CURATE, "demo", "--dir", str(demo), "--quiet"], check=True
            )
        else:
            demo.symlink_to(options.demo.resolve(), target_is_directory=True)
        for path in stale:
            execute(path, folder)
            print(f"wrote {path.relative_to(ROOT)} ({path.stat().st_size / 1000:.0f} kB)")
    return 0


def sources_hash(notebook: dict[str, Any]) -> str:
    """Return a hash of all cells: their kinds and their sources."""
    cells = [f"{cell['cell_type']}\n{''.join(cell['source'])}" for cell in notebook["cells"]]
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]


def is_current(path: Path) -> bool:
    """Whether the outputs of a notebook are of the cells it has."""
    import json

    notebook = json.loads(path.read_text(encoding="utf-8"))
    recorded = notebook["metadata"].get("curate", {}).get("sources")
    return bool(recorded == sources_hash(notebook))


def execute(path: Path, folder: Path) -> None:
    """Execute a notebook in a kernel that starts in a folder, and keep its outputs, made small."""
    import nbformat
    from nbclient import NotebookClient

    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, resources=resources).execute()
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)  # it has the times
        if cell["cell_type"] == "code":
            is_timed = TIMED in cell["metadata"].get("tags", ())
            cell["outputs"] = [] if is_timed else list(_kept(cell["outputs"]))
    notebook["metadata"]["language_info"] = {"name": "python"}
    notebook["metadata"]["curate"] = {"sources": sources_hash(notebook)}
    kept = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    text: str = nbformat.writes(kept)  # type: ignore[no-untyped-call]
    path.write_text(text.replace(f"{folder}/", "") + "\n", encoding="utf-8")


def _kept(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield outputs with their charts as pictures of their own; warnings of libraries are left out."""
    for output in outputs:
        if output.get("name") == "stderr" or output["output_type"] == "display_data":
            continue  # progress and its times, and what libraries warn of
        data = output.get("data", {})
        page = data.get("text/html", "")
        rest = _DRAWING.sub("", _FIGURE.sub("", page))
        if not page:
            yield output
        elif "<table" in rest or "<dl>" in rest:
            yield output | {"data": {"text/html": rest, "text/plain": data["text/plain"]}}
        for figure in _FIGURE.finditer(page):
            yield {
                "output_type": "display_data",
                "metadata": {},
                "data": {
                    "image/svg+xml": _picture(unescape(figure["title"]), figure["svg"]),
                    "text/plain": unescape(figure["title"]),
                },
            }


def _picture(title: str, drawing: str) -> str:
    """Return a chart as a file of its own, with its title above it."""
    from html import escape

    from curate.views.notebook.charts import Picture

    svg = Picture(title, _SQUARES.sub(_merged, _TIP.sub("", drawing))).svg
    width, height = _VIEW.findall(svg)[0]
    high = float(height) + _TITLE_HEIGHT
    view = f'width="{width}" height="{high:g}" viewBox="0 -{_TITLE_HEIGHT} {width} {high:g}"'
    svg = _VIEW.sub(view, svg, count=1)
    above = f'<text x="4" y="-9" font-weight="600">{escape(title)}</text>'
    return svg.removesuffix("</svg>") + f"{above}</svg>"


def _merged(squares: re.Match[str]) -> str:
    """Return squares, which do not overlap, as one path for each colour: a third of the text."""
    paths: dict[str, str] = {}
    for x, y, width, height, colour in _SQUARE.findall(squares[0]):
        paths[colour] = f"{paths.get(colour, '')}M{x} {y}h{width}v{height}h-{width}z"
    return "".join(f'<path fill="{colour}" d="{d}"/>' for colour, d in paths.items())


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.exit(main())
