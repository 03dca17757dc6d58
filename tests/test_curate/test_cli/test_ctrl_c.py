"""Ctrl-C while DuckDB computes ends any command with 130 and no traceback, and the rerun does its work."""

import itertools
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from curate.store import engine

ENDLESS = "select sum(hash(a.range * b.range)) from range(100000000) a, range(1000000) b"
COMMANDS = {
    "ingest": ("ingest", "more.jsonl"),
    "score": ("score", "--scorer", "mtld", "--workers", "1"),
    "select": ("select", "--rank", "length(response)", "-b", "5", "-o", "best.jsonl"),
    "report": ("report", "-o", "report.html"),
    "forget": ("forget", "--where", "source == 'pool'", "--yes"),
    "rebuild": ("doctor", "--rebuild"),
}
pytestmark = pytest.mark.slow


class Slow:
    """A connection on whose n-th statement, counted over all of them, DuckDB computes without end."""

    def __init__(self, connection: Any, counter: Iterator[int], n: int) -> None:
        self._connection, self._counter, self._n = connection, counter, n

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *statement: Any) -> Any:
        if next(self._counter) == self._n:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            self._connection.execute(ENDLESS)
        return self._connection.execute(*statement)


@pytest.fixture
def interrupted_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has the n-th statement of what follows interrupted, and counts them."""
    attached = contextmanager(engine._attached)

    @contextmanager
    def at(n: int) -> Iterator[list[int]]:
        counter, said = itertools.count(), [0]

        def slow(*given: Any) -> Iterator[Any]:
            with attached(*given) as connection:
                yield Slow(connection, counter, n)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_attached", slow)
            try:
                yield said
            finally:
                signal.signal(signal.SIGINT, before)
                said[0] = next(counter)

    return at


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_interrupted_while_duckdb_computes(
    curate: Any, pool_file: Path, interrupted_at: Any, tmp_path: Path, name: str
) -> None:
    words = COMMANDS[name]
    base = tmp_path / "base"
    base.mkdir()
    (base / "more.jsonl").write_text('{"prompt": "p", "response": "r"}\n' * 3)
    store = ("--store", base / "curate.duckdb")
    assert curate("ingest", pool_file, *store).code == 0
    assert curate("select", "--method", "random", "-b", "9", *store).code == 0

    def run(folder: Path, n: int) -> tuple[Any, int]:
        os.chdir(folder)
        with interrupted_at(n) as n_statements:
            ran = curate(*words)
        return ran, n_statements[0]

    ran, n_statements = run(shutil.copytree(base, tmp_path / "whole"), -1)
    assert ran.code == 0, ran.err
    whole = left_in(tmp_path / "whole", curate)
    assert n_statements > 3
    for n in sorted({0, n_statements // 2, n_statements - 1}):
        folder = shutil.copytree(base, tmp_path / f"at-{n}")
        ran, _ = run(folder, n)
        assert (ran.code, "Traceback" in ran.err) == (130, False), (n, ran.err)
        assert "interrupted" in ran.err.splitlines()[-1]
        ran, _ = run(folder, -1)
        assert ran.code == 0, (n, ran.err)
        assert left_in(folder, curate) == whole, n


def left_in(folder: Path, curate: Any) -> Any:
    """Return what is in a store and beside it, clocks and ids of selections aside."""
    store = ("--store", folder / "curate.duckdb", "--json")
    found = curate("status", *store).json
    problems = [f for f in curate("doctor", *store).json["findings"] if f["level"] == "error"]
    files = sorted(p.name for p in folder.iterdir() if not p.name.endswith((".old", ".wal")))
    return (
        found["n_examples"], len(found["datasets"]), problems, files,
        [(s["alias"], s["content_hash"]) for s in found["score_sets"]],
        sorted(s["selection_id"] for s in found["selections"]),
    )  # fmt: skip
