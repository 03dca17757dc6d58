"""Input data that cannot be used: one clear error each, and the store stays as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD = {"id": "ok-1", "prompt": "Say hello.", "response": "Hello there."}
SKIP = "; correct it, or skip bad rows and record them with --on-error skip"
FILE_TYPES = "write .jsonl, .json, .csv, .parquet or .arrow, each also with .gz or .zst"


def write(name: str, *rows: dict[str, Any] | bytes) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    Path(name).write_bytes(b"".join(line + b"\n" for line in lines))
    return Path(name)


def messages(*turns: Any) -> dict[str, Any]:
    return {"messages": list(turns)}


USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}


def fails(curate, error: str, *arguments: object) -> None:
    """Assert that a command exits with 2 and prints this one line, and nothing on stdout."""
    ran = curate(*arguments)
    assert (ran.code, ran.result, ran.err) == (2, "", error + "\n")


@pytest.fixture
def held(curate):
    """A store with one dataset; afterwards it must hold exactly that."""
    write("first.jsonl", {"prompt": "Say one.", "response": "one"})
    assert curate("ingest", "first.jsonl").code == 0
    before = curate("status", "--json").json
    yield
    after = curate("status", "--json").json
    assert after["n_rows"] == 1
    assert after["datasets"] == before["datasets"]
    assert curate("doctor", "--json").json["ok"] is True
    assert not list(Path("curate.parts").glob("**/*.tmp-*"))


@pytest.mark.usefixtures("held")
class TestRefusedWhole:
    """Nothing of the file is kept."""

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (
                "missing.jsonl",
                "no file 'missing.jsonl'; check the path, or give a hub dataset as org/name",
            ),
            ("none-*.jsonl", "no file matches 'none-*.jsonl'; check the pattern, and quote it from the shell"),
            ("notes.doc", f"notes.doc: unknown file type '.doc'; {FILE_TYPES}"),
            ("empty", f"folder empty holds no data file; {FILE_TYPES}"),
            ("empty.jsonl", "empty.jsonl holds no rows; check that it is the right file"),
            (
                "bad.jsonl.gz",
                "cannot decompress bad.jsonl.gz: Not a gzipped file (b'no'); the file is damaged or not .gz",
            ),
        ],
    )  # fmt: skip
    def test_files(self, curate, data: str, error: str) -> None:
        Path("empty").mkdir()
        Path("empty.jsonl").touch()
        Path("notes.doc").write_text("no")
        Path("bad.jsonl.gz").write_text("not gzip")
        fails(curate, f"DataError: {error}", "ingest", data)

    @pytest.mark.slow
    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user who may not read")
    def test_files_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        write("secret.jsonl", GOOD).chmod(0o600)
        Path("locked").mkdir(mode=0o700)
        write("locked/in.jsonl", GOOD)
        script = (
            "import os, sys; from curate.data.read.ingest import ingest; from curate.store import Store\n"
            "from curate.errors import DataError\n"
            "store = Store('other.duckdb'); os.setuid(65534)\n"
            "for data in sys.argv[1:]:\n"
            "    try: ingest(store, data)\n"
            "    except DataError as error: print(error)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, "secret.jsonl", "locked/in.jsonl"],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert ran.stdout.splitlines() == [
            "cannot read secret.jsonl: Permission denied; check its permissions",
            "cannot read locked/in.jsonl: Permission denied; check the path and its permissions",
        ], ran

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (
                b'{"prompt": "x", ',
                "not valid JSON: Expecting property name enclosed in double quotes at column 17",
            ),
            (b'["a"]', "an array, not a JSON object"),
            (b'{"prompt": "caf\xe9", "response": "x"}', "not UTF-8: byte 0xe9 at byte 15"),
            ({"prompt": "a", "response": ""}, "empty response"),
            ({"prompt": "a", "response": " \n"}, "empty response"),
            ({"prompt": "a", "response": None}, "empty response (response is null)"),
            ({"prompt": None, "response": "b"}, "prompt is null or missing"),
            ({"prompt": 3, "response": "b"}, "prompt is a number, not text"),
        ],
    )
    def test_a_bad_line_in_the_middle(self, curate, row: Any, reason: str) -> None:
        write(
            "pool.jsonl",
            GOOD,
            {"prompt": "b", "response": "c"},
            row,
            {"prompt": "d", "response": "e"},
        )
        fails(curate, f"DataError: pool.jsonl line 3: {reason}{SKIP}", "ingest", "pool.jsonl")

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (messages(USER), "no assistant turn"),
            (messages(USER, ANSWER, USER), "last message is not from the assistant but from the user"),
            (messages(), "no messages"),
            ({"messages": None}, "messages is null or missing"),
            (messages(None, ANSWER), "message 1 is null, not an object with role and content"),
            (messages({"role": None, "content": "x"}, ANSWER), "message 1 has no role (null or missing)"),
            (
                messages({"role": "user", "content": None}, ANSWER),
                "message 1 (user) has no content (null or missing)",
            ),
            (
                messages({"role": "user", "content": [None]}, ANSWER),
                "message 1 (user): content holds null, not only objects",
            ),
            (messages(USER, {"role": "assistant", "content": None}), "message 2 (assistant) has no content (null or missing)"),
            (
                messages(USER, {"role": "assistant", "content": [{"type": "text", "text": None}]}),
                "empty response",
            ),
        ],
    )  # fmt: skip
    def test_conversations_with_nothing_to_learn_from(self, curate, row: Any, reason: str) -> None:
        write("talk.jsonl", messages(USER, ANSWER), row)
        fails(curate, f"DataError: talk.jsonl line 2: {reason}{SKIP}", "ingest", "talk.jsonl")

    def test_a_csv_in_another_encoding(self, curate) -> None:
        Path("latin.csv").write_bytes(b"prompt,response\na,b\ncaf\xe9,x\n")
        reason = "not UTF-8: byte 0xe9 at byte 3 of the record"
        fails(curate, f"DataError: latin.csv line 3: {reason}{SKIP}", "ingest", "latin.csv")

    def test_columns_of_no_known_format(self, curate) -> None:
        write("odd.jsonl", {"foo": 1, "bar": 2})
        ran = curate("ingest", "odd.jsonl", "--json")
        assert (ran.code, ran.result) == (2, "")
        assert ran.err.startswith(
            "DataError: odd.jsonl does not fit any known format; its columns are foo, bar; "
        )
        assert "prompt-response (prompt+response or " in ran.err
        assert ran.err.endswith("say which column has which role: --column messages=dialogs\n")

    def test_a_format_nobody_knows(self, curate) -> None:
        write("pool.jsonl", GOOD)
        known = (
            "auto, messages, sharegpt, alpaca, prompt-completion, prompt-response, prompt-responses, text, "
            "preference"
        )
        fails(
            curate,
            f"ConfigError: unknown format 'alpacca'; did you mean 'alpaca'; choose {known}",
            "ingest", "pool.jsonl", "--format", "alpacca",
        )  # fmt: skip

    def test_a_hub_dataset_that_is_not_cached(self, curate) -> None:
        ran = curate("ingest", "org/not-cached")
        assert (ran.code, ran.result, ran.err.count("\n")) == (2, "", 1)
        assert "the hub dataset 'org/not-cached' (split 'train') cannot be loaded" in ran.err
        assert ran.err.endswith("check the path or the id; offline it must already be cached\n")


def test_skipping_records_each_bad_row_and_goes_on(curate) -> None:
    write(
        "pool.jsonl",
        GOOD,
        b"{oops",
        {"prompt": "a", "response": ""},
        {"prompt": "b", "response": "c"},
    )
    ran = curate("ingest", "pool.jsonl", "--on-error", "skip", "--json")
    assert ran.code == 0
    report = ran.json
    assert (report["n_read"], report["n_added"], report["n_failed"]) == (4, 2, 2)
    assert report["datasets"][0]["warnings"] == [
        (
            "2 rows skipped and recorded; the first: pool.jsonl line 2: not valid JSON: "
            "Expecting property name enclosed in double quotes at column 2"
        )
    ]
    import pyarrow.parquet as pq

    (skipped,) = Path("curate.parts/skipped").glob("*.parquet")
    assert pq.read_table(skipped).select(["position", "place"]).to_pylist() == [
        {"position": 1, "place": "pool.jsonl line 2"},
        {"position": 2, "place": "pool.jsonl line 3"},
    ]


def test_a_file_of_bad_rows_only_is_no_dataset(curate) -> None:
    write("bad.jsonl", b"{oops", b"{again")
    ran = curate("ingest", "bad.jsonl", "--on-error", "skip")
    assert (ran.code, ran.result) == (2, "")
    assert ran.err.startswith("DataError: bad.jsonl has no usable row among 2; the first: ")
    assert curate("status", "--json").json["n_rows"] == 0


def test_an_id_of_the_input_that_occurs_twice(curate) -> None:
    write("pool.jsonl", *({"id": "a", "prompt": "hi", "response": str(n)} for n in (1, 2)))
    ran = curate("ingest", "pool.jsonl", "--json")
    assert (ran.code, ran.json["n_added"]) == (0, 2)
    assert ran.json["datasets"][0]["warnings"] == [
        (
            "1 row repeats the id of an earlier row (first: rows 0 and 1, counted from 0); "
            "all rows are kept"
        )
    ]
    import curate as cu

    both = ", ".join(cu.open().sql("select id from examples order by id")["id"].to_list())
    error = f"DataError: input id 'a' names several examples ({both}); give one of these ids"
    fails(curate, error, "explain", "a", "--json")
    for flag in ("--include", "--exclude"):
        fails(curate, error, "select", "--method", "random", "-b", "1", flag, "a", "--json")
    chosen = curate("select", "--method", "random", "-b", "1", "--include", both[:32], "--json")
    assert chosen.json["n_selected"] == 1


def test_ids_of_the_input_include_and_exclude(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    ran = curate(
        "select", "--method", "random", "-b", "2", "--include", "red-1,blue-2", "--exclude",
        "red-2", "-o", "two.jsonl", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    kept = [json.loads(line)["id"] for line in Path("two.jsonl").read_text().splitlines()]
    assert kept == ["red-1", "blue-2"]
    many = ",".join(f"nobody-{n:030d}" for n in range(20))  # longer than a file name may be
    fails(
        curate,
        f"DataError: no example 'nobody-{0:030d}' in the store; give an id, a prefix of at "
        "least 6 characters, or its id in the input data",
        "select", "--method", "random", "-b", "2", "--include", many,
    )  # fmt: skip
    fails(
        curate,
        "DataError: no file of ids 'ids.txt'; check the path, or give comma-separated ids",
        "select", "--method", "random", "-b", "2", "--include", "ids.txt",
    )  # fmt: skip


@pytest.mark.slow
def test_a_row_of_ten_megabytes_is_scored_on_what_fits_and_comes_back(
    curate, tiny_model: Path
) -> None:
    big = {"id": "big", "prompt": "Say it.", "response": f"as told {'<|system|>' * 1_000_000} done"}
    data = write("big.jsonl", GOOD, big, {"prompt": "Say hello.", "response": "Hi."})
    assert data.stat().st_size > 10_000_000
    assert curate("ingest", data, "--json").json["n_added"] == 3
    arguments = ("score", "--scorer", "likelihood", "-m", tiny_model, "--max-failures", "0")
    ran = curate(*arguments, "--json")
    assert ran.code == 0, ran.err
    (scored,) = ran.json["score_sets"]
    assert (scored["n_scored"], scored["n_failed"], scored["n_truncated"]) == (3, 0, 1)
    assert (
        "warning: likelihood: 1 of 3 texts are longer than the model's context of 64 tokens and were "
        "cut; leave them out with --where 'not likelihood.truncated'\n"
    ) in ran.err
    chosen = curate(
        "select", "--method", "random", "-b", "100%", "--order", "input", "-o", "out.jsonl"
    )
    assert chosen.code == 0, chosen.err
    assert Path("out.jsonl").read_bytes() == data.read_bytes()
