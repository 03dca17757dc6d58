"""Runs that go wrong: stores nobody can open, full disks, scorers that break their contract."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from curate import registry
from curate.contracts import Column, Columns, Example, LoadContext, Role, RowScorer

PREFIX_UNSTABLE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>"
    "{{ m.content if loop.last else m.content | upper }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def last_line(text: str) -> str:
    return text.splitlines()[-1]


@contextmanager
def held(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Have another process hold a store's file."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield holder
        if holder.poll() is None:
            holder.communicate(b"\n")


def tree(folder: Path) -> dict[str, str]:
    """Every file of a store by name, with a hash of its bytes."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def pool(curate, pool_file: Path) -> Path:
    """The folder of a store with 26 examples: ``pool/curate.duckdb``."""
    Path("pool").mkdir()
    assert curate("ingest", pool_file, "--store", "pool/curate.duckdb").code == 0
    return Path("pool").resolve()


class TestStores:
    def fails(self, curate, store: Path, error: str) -> None:
        """Assert the same one line from commands that read and that write; nothing changes."""
        before = tree(store.parent)
        for command in (("status",), ("select", "--method", "random", "-b", "2")):
            ran = curate(*command, "--store", store, "--json")
            assert (ran.code, ran.result, ran.err) == (1, "", f"StoreError: {error}\n")
        assert tree(store.parent) == before

    def test_that_another_process_holds(self, curate, pool: Path, monkeypatch) -> None:
        from curate.store.upkeep import opening as upkeep

        opening = upkeep.open_store

        def impatient(self: Any, *, create: bool) -> None:
            self.wait_s = 0.2
            opening(self, create=create)

        monkeypatch.setattr(upkeep, "open_store", impatient)
        path = pool / "curate.duckdb"
        with held(path) as holder:
            before = tree(pool)
            ran = curate("status", "--store", path, "--json")
            assert (ran.code, ran.result) == (1, "")
            assert ran.err.startswith(f"StoreError: {path} is held by process {holder.pid} (")
            assert ran.err.endswith(
                " and was not released within 0.2 s; wait until it is done, or end it "
                f"(kill {holder.pid}), and run the same command again\n"
            )
            assert tree(pool) == before
        assert curate("status", "--store", path, "--json").json["n_examples"] == 26

    def test_that_another_holds_as_a_slice_begins(self, curate, pool: Path, monkeypatch) -> None:
        from curate.store.upkeep import opening as upkeep

        opening, n_tries = upkeep.open_store, 0

        def impatient(self: Any, *, create: bool) -> None:
            nonlocal n_tries
            n_tries += 1
            if n_tries == 2:
                holder.communicate(b"\n")
            self.wait_s = 0.2
            opening(self, create=create)

        monkeypatch.setattr(upkeep, "open_store", impatient)
        path = pool / "curate.duckdb"
        with held(path) as holder:
            ran = curate("score", "--scorer", "mtld", "--slice", "1/1", "--store", path)
        assert (ran.code, n_tries) == (0, 2), ran.err
        [said] = [line for line in ran.err.splitlines() if "is held by" in line]
        assert said.startswith(f"{path} is held by process {holder.pid} (")
        assert said.endswith("), perhaps another slice that begins; still waiting")

    def test_that_is_corrupt(self, curate, pool: Path) -> None:
        path = pool / "curate.duckdb"
        path.write_bytes(b"garbage" * 1000)
        ran = curate("status", "--store", path, "--json")
        assert (ran.code, ran.result, ran.err.count("\n")) == (1, "", 1)
        assert ran.err.startswith(f"StoreError: {path} is corrupt or not a store (")
        repair = f"curate doctor --rebuild --store {path}"
        assert ran.err.endswith(f"); rebuild it from the parts beside it with: {repair}\n")
        assert curate(*repair.split()[1:]).code == 0
        assert curate("status", "--store", path, "--json").json["n_examples"] == 26

    def test_that_was_cut_off(self, curate, pool: Path) -> None:
        path = pool / "curate.duckdb"
        os.truncate(path, path.stat().st_size // 2)
        ran = curate("status", "--store", path)
        assert ran.code == 1
        assert (
            f"rebuild it from the parts beside it with: curate doctor --rebuild --store {path}"
            in ran.err
        )
        assert curate("doctor", "--rebuild", "--store", path).code == 0
        assert curate("status", "--store", path, "--json").json["n_examples"] == 26

    def test_of_a_newer_version(self, curate, pool: Path) -> None:
        import duckdb

        path = pool / "curate.duckdb"
        with duckdb.connect(str(path)) as con:
            con.execute("update internal.meta set value = '99' where key = 'schema_version'")
        self.fails(
            curate,
            path,
            f"{path} was written by a newer version of curate (its schema is 99, this one reads up "
            "to 1); update with: pip install --upgrade curate-sft",
        )

    def test_on_a_network_that_gives_up(self, curate, pool: Path, monkeypatch) -> None:
        from curate.scoring.executors.worker import TaskRunner

        def gives_up(*_: object) -> None:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "shard.parquet")

        monkeypatch.setattr(TaskRunner, "run", gives_up)
        ran = curate(
            "score", "--scorer", "mtld", "--store", pool / "curate.duckdb", "--max-hours", 9
        )
        assert ran.code == 1, "no end of the hours"
        assert last_line(ran.err) == (
            "StoreError: connection timed out: 'shard.parquet'; no finished work was lost; free some "
            "space or make the path writable, then rerun the same command"
        )

    def test_that_is_something_else(self, curate, pool: Path) -> None:
        import duckdb

        other = pool / "other.duckdb"
        duckdb.connect(str(other)).close()
        error = f"{other} is a DuckDB file, but not a store; give another path with --store"
        self.fails(curate, other, error)

    def test_without_its_parts(self, curate, pool: Path) -> None:
        lonely = pool / "lonely.duckdb"
        shutil.copy(pool / "curate.duckdb", lonely)
        self.fails(
            curate,
            lonely,
            f"the folder of parts {pool / 'lonely.parts'} is missing; it holds the texts, the input "
            "rows and the vectors; move it back beside lonely.duckdb",
        )

    def test_that_is_not_there(self, curate, pool: Path) -> None:
        none = pool / "none.duckdb"
        error = f"there is no store at {none}; create one with: curate ingest DATA --store {none}"
        self.fails(curate, none, error)

    def test_in_a_place_where_none_can_be(self, curate, pool_file: Path) -> None:
        ran = curate("ingest", pool_file, "--store", "/proc/none/curate.duckdb", "--json")
        assert (ran.code, ran.result) == (1, "")
        assert ran.err == (
            "StoreError: cannot make the folder /proc/none: No such file or directory; "
            "choose another place with --store\n"
        )

    def test_that_is_read_only(self, curate, pool: Path, mounted: Callable[..., Path]) -> None:
        folder = mounted("size=32m")
        shutil.copytree(pool, folder / "pool")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        path = folder / "pool/curate.duckdb"
        assert curate("status", "--store", path, "--json").json["n_examples"] == 26
        ran = curate("select", "--method", "random", "-b", "2", "--store", path, "--json")
        assert (ran.code, ran.result) == (1, "")
        assert ran.err == (
            f"StoreError: cannot write {path}: it is read-only here; make the file and its folder "
            "writable for this user, or copy the store (the file and its .parts folder) to a "
            "writable folder\n"
        )


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system in memory; skipped where this user may not."""
    folder = tmp_path / "mounted"

    def mount(options: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class TestFullDisk:
    def test_while_reading(self, curate, pool: Path, mounted: Callable[..., Path]) -> None:
        folder = mounted("size=6m")
        shutil.copytree(pool, folder / "pool")
        store = folder / "pool/curate.duckdb"
        rng = np.random.default_rng(0)
        big = Path("big.jsonl")
        with big.open("w") as file:
            for n in range(200):
                text = rng.bytes(40_000).hex()
                file.write(json.dumps({"prompt": str(n), "response": text}) + "\n")
        ran = curate("ingest", big, "--store", store, "--json")
        assert (ran.code, ran.result) == (1, "")
        assert last_line(ran.err).startswith("StoreError: no space left on the disk of ")
        assert last_line(ran.err).endswith(
            "; no finished work was lost; free some space and run the same command again"
        )
        status = curate("status", "--store", store, "--json").json
        assert (status["n_examples"], len(status["datasets"])) == (26, 1)

    def test_while_scoring(self, curate, pool: Path, tiny_model: Path, monkeypatch) -> None:
        from curate.store import sealed

        def full(*_arguments: object, **_options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        arguments = ("score", "--scorer", "likelihood", "-m", tiny_model, "--json", "--store",
                     pool / "curate.duckdb")  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(sealed.pq, "ParquetWriter", full)
            ran = curate(*arguments)
        assert (ran.code, ran.result) == (1, "")
        assert last_line(ran.err).startswith(f"StoreError: no space left on the disk of {pool}")
        (again,) = curate(*arguments).json["score_sets"]
        assert (again["n_scored"], again["n_failed"]) == (26, 0)

    def test_while_exporting(self, curate, pool: Path, mounted: Callable[..., Path]) -> None:
        folder = mounted("size=4k")
        store = pool / "curate.duckdb"
        chosen = curate("select", "--method", "random", "-b", "26", "--store", store, "--json").json
        output = folder / "all.jsonl"
        ran = curate(
            "export",
            "--selection",
            chosen["selection_id"],
            "-o",
            output,
            "--store",
            store,
            "--json",
        )
        assert (ran.code, ran.result) == (1, "")
        assert ran.err == (
            f"StoreError: no space left to write {output}; nothing was written: free some space "
            "on that disk, or choose another with -o\n"
        )
        assert list(folder.iterdir()) == []


@dataclass(frozen=True)
class Broken(RowScorer):
    """Gives NaN for every third example, or one row too few."""

    name: ClassVar[str] = "broken-on-purpose"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {"value": Column("float", "nothing of use")}
    short: bool = False

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        def run(examples: Sequence[Example]) -> Columns:
            values = np.arange(len(examples), dtype=np.float64)
            values[::3] = np.nan
            return {"value": values[:-1] if self.short else values}

        return run


@pytest.fixture
def broken() -> Iterator[None]:
    """Register the broken scorer for one test."""
    registry.names("scorer")
    registry.register(Broken)
    yield
    del registry._classes["scorer"][Broken.name]


@pytest.mark.usefixtures("broken")
class TestScorers:
    def score(self, curate, pool: Path, *more: object) -> Any:
        store = pool / "curate.duckdb"
        return curate("score", "--scorer", Broken.name, "--store", store, "--json", *more)

    def test_that_give_nan_fail_those_examples(self, curate, pool: Path) -> None:
        ran = self.score(curate, pool)
        assert ran.code == 3
        (scored,) = ran.json["score_sets"]
        assert scored["failures"] == {"non_finite": 9}
        line = last_line(ran.err)
        assert line.startswith(
            f"TooManyFailuresError: {Broken.name}: 9 of 26 examples failed (9 non_finite), at most 0 "
            "are tolerated; everything else is saved; look at one: curate explain "
        )
        assert line.endswith("; or accept them: --max-failures 9")
        accepted = self.score(curate, pool, "--max-failures", "9")
        assert (accepted.code, accepted.json["score_sets"][0]["n_reused"]) == (0, 26)

    def test_that_give_too_few_rows_end_the_job(self, curate, pool: Path) -> None:
        ran = self.score(curate, pool, "--set", "short=true")
        assert (ran.code, ran.result) == (1, "")
        line = last_line(ran.err)
        assert line.startswith("ScoreError: shard ")
        assert f"scorer {Broken.name!r} returned 25 rows of 'value' for 26 examples" in line
        assert not list(pool.glob("curate.parts/scores/*/*.parquet"))


class TestTexts:
    def test_a_chat_template_that_is_not_prefix_stable(
        self, curate, pool: Path, tiny_model: Path
    ) -> None:
        shutil.copytree(tiny_model, "m")
        Path("m/chat_template.jinja").write_text(PREFIX_UNSTABLE)
        arguments = ("score", "--scorer", "likelihood", "-m", "m", "--template", "chat", "--store",
                     pool / "curate.duckdb", "--json")  # fmt: skip
        ran = curate(*arguments)
        assert (ran.code, ran.json["score_sets"][0]["n_failed"]) == (3, 26)
        assert "26 of 26 examples failed (26 template_not_prefix_stable)" in last_line(ran.err)
        explained = curate("explain", "red-1", "--store", pool / "curate.duckdb", "--json").json
        assert [one["reason"] for one in explained["failures"]] == ["template_not_prefix_stable"]
        assert curate(*arguments, "--max-failures", "100%").code == 0

    def test_longer_than_the_context(self, curate, tiny_model: Path) -> None:
        rows = [
            {"id": "long", "prompt": "Say it.", "response": "word " * 200},
            {"id": "prompt", "prompt": "word " * 200, "response": "Said."},
            {"id": "short", "prompt": "Say it.", "response": "It."},
        ]
        Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        curate("ingest", "long.jsonl")
        ran = curate("score", "--scorer", "likelihood", "-m", tiny_model, "--json")
        assert ran.code == 3
        (scored,) = ran.json["score_sets"]
        assert (scored["n_truncated"], scored["failures"]) == (1, {"prompt_exceeds_context": 1})
        assert (
            "warning: likelihood: 1 of 3 texts are longer than the model's context of 64 tokens and were "
            "cut; leave them out with --where 'not likelihood.truncated'"
        ) in ran.err.splitlines()
        kept = curate(
            "select", "--rank", "likelihood.mean_logp", "--where", "not likelihood.truncated",
            "-b", "1", "-o", "kept.jsonl", "--json",
        )  # fmt: skip
        assert kept.json["n_eligible"] == 1
        assert json.loads(Path("kept.jsonl").read_text())["id"] == "short"

    def test_grape_where_no_instruction_has_two_responses(self, curate, tiny_model: Path) -> None:
        rows = [{"prompt": f"Say {n}.", "response": str(n)} for n in range(3)]
        Path("lone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ("select", "lone.jsonl", "--method", "grape", "-m", tiny_model, "--json")
        ran = curate(*arguments)
        assert (ran.code, ran.result) == (2, "")
        assert last_line(ran.err) == (
            "ConfigError: grape chooses among several responses to one instruction, and no "
            "instruction here has two (3 examples, 3 instructions); ingest data with several "
            "responses per instruction, or keep every single response with --set "
            "grape.keep_single=true"
        )
        assert curate("status", "--json").json["selections"] == []
        assert curate(*arguments, "--set", "grape.keep_single=true").json["n_selected"] == 3
