"""A disk that takes no more: one clear error, nothing left behind, and the same command succeeds later.

Files of this process are limited in size, which needs no privilege and fails as a full disk does;
``test_bad_runs.py`` fills a real one where a file system may be mounted.
"""

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curate.errors import StoreError
from curate.store.parts import TMP_MARK, full_disk_as_error
from curate.train.checkpoints import RunFolder

LIMITED = (
    " or this user's limit allows; no finished work was lost; raise the limit (ulimit -f), or write to "
    "another disk, and run the same command again"
)


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """Let no file of this process become larger; modules that it imports are not compiled to files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiles = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = compiles


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if TMP_MARK in path.name]


@pytest.fixture
def store(curate, pool_file: Path) -> Path:
    """A store with 26 examples."""
    assert curate("ingest", pool_file).code == 0
    return Path("curate.duckdb").resolve()


@pytest.fixture
def chosen(curate, store: Path) -> str:
    """The id of a selection of all examples."""
    picked = curate("select", "--method", "random", "-b", "26", "--json").json
    return str(picked["selection_id"])


OUTPUTS = (
    "out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.json", "out.json.gz", "out.csv", "out.csv.gz",
    "out.parquet", "out.arrow", "out",
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [(name,) for name in OUTPUTS]
    + [("out", "--trainer", name) for name in ("trl", "axolotl", "llama-factory")],
    ids=" ".join,
)
def test_an_export_in_any_format(curate, chosen: str, arguments: tuple[str, ...]) -> None:
    command = ("export", "--selection", chosen, "--json", "-o", *arguments)
    before = set(Path().iterdir())
    for n_bytes in (0, 100, 500):
        with files_up_to(n_bytes):
            ran = curate(*command)
        assert (ran.code, ran.result) == (2, ""), ran.out
        assert ran.err == (
            f"DataError: cannot write {arguments[0]}: File too large; choose another place with -o\n"
        )
        assert set(Path().iterdir()) == before
    assert curate(*command).json["n_rows"] == 26
    assert not left_behind(Path())


@pytest.mark.parametrize(
    ("n_bytes", "place"), [(0, "curate.parts"), (100, "curate.parts"), (6_000, "")]
)
def test_an_ingest(curate, store: Path, n_bytes: int, place: str) -> None:
    """The last of these limits lets the rows be staged, and not the commit be written."""
    rows = "".join(f'{{"prompt": "p{n}", "response": "r{n}"}}\n' for n in range(50))
    Path("more.jsonl").write_text(rows)
    with files_up_to(n_bytes):
        ran = curate("ingest", "more.jsonl", "--json")
    folder = store.parent / place if place else store.parent
    assert (ran.code, ran.result) == (1, "")
    assert f"StoreError: a file would be larger than the disk of {folder}" in ran.err
    assert ran.err.endswith(f"{LIMITED}\n")
    assert not left_behind(Path())
    assert curate("status", "--json").json["n_examples"] == 26
    assert curate("ingest", "more.jsonl", "--json").json["n_added"] == 50
    assert not [f for f in curate("doctor", "--json").json["findings"] if f["level"] != "ok"]


def test_a_score_and_its_commit(curate, store: Path) -> None:
    for n_bytes in (0, 300, 1_500, 4_000):
        with files_up_to(n_bytes):
            ran = curate("score", "--scorer", "mtld", "--workers", "1", "--json")
        assert (ran.code, ran.result) == (1, ""), n_bytes
        assert "StoreError: a file would be larger than the disk of" in ran.err
        assert ran.err.endswith(f"{LIMITED}\n")
        assert not left_behind(Path())
    [whole] = curate("score", "--scorer", "mtld", "--json").json["score_sets"]
    assert (whole["n_scored"] + whole["n_reused"], whole["n_failed"]) == (26, 0)


def test_a_commit_of_what_slices_have_scored(curate, store: Path) -> None:
    assert curate("score", "--scorer", "mtld", "--slice", "1/1").code == 0
    with files_up_to(3_000):
        ran = curate("commit", "--json")
    assert (ran.code, ran.result) == (1, "")
    assert ran.err == (
        f"StoreError: a file would be larger than the disk of {store.parent}{LIMITED}\n"
    )
    assert not left_behind(Path())
    [made] = curate("commit", "--json").json["score_sets"]
    assert (made["alias"], made["n_committed"], made["n_done"]) == ("mtld", 1, 1)


def test_a_checkpoint_and_the_final_weights(
    curate, chosen: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "train", "--selection", chosen, "-m", tiny_model, "-o", "run", "--epochs", "1",
        "--save-every", "2", "--device", "cpu", "--json",
    )  # fmt: skip
    with files_up_to(5_000):
        ran = curate(*command)
    assert (ran.code, ran.result) == (1, "")
    place = Path("run/checkpoints").resolve()
    assert ran.err.endswith(
        f"StoreError: a file would be larger than the disk of {place}{LIMITED}\n"
    )
    assert not left_behind(Path())
    put = RunFolder.put

    def limited(self: RunFolder, save: Callable[[Path], None]) -> None:
        with files_up_to(5_000):
            put(self, save)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "put", limited)
        ran = curate(*command)
    assert (ran.code, ran.result) == (1, "")
    place = Path("run").resolve()
    assert ran.err.endswith(
        f"StoreError: a file would be larger than the disk of {place}{LIMITED}\n"
    )
    assert {path.name for path in Path("run").iterdir()} == {"run.json", "checkpoints"}
    assert curate(*command).code == 0
    assert Path("run/model.safetensors").stat().st_size > 5_000
    assert not left_behind(Path())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left on the disk of /pool; no finished work was lost; free some"),
        (
            errno.EDQUOT,
            "no space left on the disk of /pool for this user (the quota is used up); no",
        ),
        (errno.EFBIG, f"a file would be larger than the disk of /pool{LIMITED}"),
    ],
)
def test_what_the_system_says_is_said_in_words(number: int, words: str) -> None:
    class LibraryError(Exception):
        """As of safetensors or DuckDB, which quote the system's words."""

    text = os.strerror(number)
    for error in (OSError(number, text), LibraryError(f"I/O error: {text} (os error {number})")):
        with pytest.raises(StoreError) as caught, full_disk_as_error(Path("/pool/x.parquet")):
            raise error
        assert str(caught.value).startswith(words)
