"""Take a store from DuckDB 2 to DuckDB 1.4 and back, and compare what each of them reads in it.

``compat.py PYTHON`` runs the steps below; PYTHON is the interpreter of an environment that holds
DuckDB 1.4. Each step is a process of its own, the same code with one DuckDB or the other in front.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import curate

ROOT: Final = Path(__file__).resolve().parent.parent
RELATIONS: Final = (
    "examples", "rows", "score_sets", "scores", "vectors", "failures", "selections",
    "selection_rows", "revisions", "trials", "trial_evals", "targets",
    "shard_runs",
)  # fmt: skip
PART: Final = 300  # rows of the pool per step that writes


def main(arguments: list[str]) -> int:
    """Run one step (``STEP FOLDER STORE``), or all of them (``PYTHON``); return the exit code."""
    if len(arguments) == 3:
        step, folder, store = arguments
        print(json.dumps(STEPS[step](Path(folder), Path(folder) / store)))
        return 0
    old_path = _site_packages(arguments[0])
    with tempfile.TemporaryDirectory(prefix="curate-compat-") as temporary:
        _prepare(Path(temporary))
        run = _Runner(Path(temporary), old_path)
        new, old = run.version(old=False), run.version(old=True)
        if not (new.startswith("2.") and old.startswith("1.4.")):
            raise SystemExit(f"needs DuckDB 2 and 1.4, found {new} and {old}")
        failed = [
            not _same(f"written by {new}, read by {old}", *run.both("write", "a", old=False)),
            not _same(f"then added to by {old}, read by {new}", *run.both("extend", "a", old=True)),
            not _same(f"then added to by {new}, read by {old}", *run.both("more", "a", old=False)),
            not _same(f"written by {old}, read by {new}", *run.both("write", "b", old=True)),
        ]
    return int(any(failed))


class _Runner:
    """Runs steps under one DuckDB or the other."""

    def __init__(self, folder: Path, old_path: str) -> None:
        self._folder = folder
        self._old_path = old_path

    def both(self, step: str, store: str, *, old: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run a step under one DuckDB; return what each of the two then reads in the store."""
        self._run(f"{step} {store}", old)
        return self._run(f"read {store}", old), self._run(f"read {store}", not old)

    def version(self, *, old: bool) -> str:
        """Return the version of one DuckDB."""
        return str(self._run("version a", old)["duckdb"])

    def _run(self, words: str, old: bool) -> dict[str, Any]:
        step, store = words.split()
        paths = [str(ROOT), str(ROOT / "selectors")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([self._old_path, *paths])}
        if not old:
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        command = [sys.executable, __file__, step, str(self._folder), f"{store}.duckdb"]
        done = subprocess.run(
            command, check=False, env=environment, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"step {step!r} failed with DuckDB {'1.4' if old else '2'}")
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded


def _prepare(folder: Path) -> None:
    """Write three slices of the demo's pool, and a model that has barely been trained."""
    from curate.contracts.progress import SilentProgress
    from curate.demo.model import build_model
    from curate.demo.pool import write_pool
    from curate.demo.train import Schedule

    write_pool(folder / "pool.jsonl")
    lines = (folder / "pool.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for number, step in enumerate(("write", "extend", "more")):
        text = "".join(lines[number * PART : (number + 1) * PART])
        (folder / f"{step}.jsonl").write_text(text, encoding="utf-8")
    build_model(folder / "model", Schedule(n_steps=1), SilentProgress())


def _add(step: str) -> Callable[[Path, Path], dict[str, Any]]:
    def add(folder: Path, store: Path) -> dict[str, Any]:
        pool = curate.open(store, create=True)
        pool.ingest(str(folder / f"{step}.jsonl"))
        pool.score("length", "likelihood", "embedding", model=str(folder / "model"))
        pool.select("grape", model=str(folder / "model"))
        return {}

    return add


def _read(folder: Path, store: Path) -> dict[str, Any]:
    """Return counts of every documented relation, the hashes, and the scores as sums."""
    pool = curate.open(store, create=False)
    facts: dict[str, Any] = {"pool": pool.store.pool_hash()}
    for relation in RELATIONS:
        facts[relation] = pool.sql(f"select count(*) as n from {relation}")["n"][0]
    for status in pool.store.score_sets():
        facts[f"{status.alias} {status.set_id}"] = status.content_hash
    for column in ("likelihood.mean_logp", "length.response_tokens"):
        values = pool.sql(f"select {column} as value from scores")["value"]
        facts[f"sum of {column}"] = math.fsum(
            values
        )  # exact, so the order of the rows is no matter
    facts["findings"] = [str(finding) for finding in pool.store.check()]
    return facts


def _version(folder: Path, store: Path) -> dict[str, Any]:
    from importlib.metadata import version

    return {"duckdb": version("duckdb")}


def _same(title: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    different = [name for name in one if one[name] != other.get(name)]
    counts = f"{one['examples']} examples, {one['score_sets']} score sets"
    print(f"{title}: {'the same' if not different else 'DIFFERENT'} ({counts})")
    for name in different:
        print(f"  {name}: {one[name]!r} and {other.get(name)!r}")
    return not different


def _site_packages(python: str) -> str:
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


STEPS: Final[dict[str, Callable[[Path, Path], dict[str, Any]]]] = {
    "write": _add("write"),
    "extend": _add("extend"),
    "more": _add("more"),
    "read": _read,
    "version": _version,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
