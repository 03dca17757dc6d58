"""Ingesting into a real store: all or nothing, everything said, nothing lost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from surrogates import surrogates_let_in

from curate.data.identity import identify
from curate.data.read.ingest import IngestOptions, IngestReport, ingest
from curate.errors import ConfigError, DataError
from curate.scoring.windows import read_examples
from curate.store import Store
from curate.train.data import rows_of_pool

GOOD = {"id": "1", "prompt": "a", "response": "b"}
ANSWER = {"role": "assistant", "content": "b"}
HINT = "; correct it, or skip bad rows and record them with --on-error skip"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(store: Store, path: Path | str, **options: Any) -> IngestReport:
    (report,) = ingest(store, str(path), IngestOptions(**options))
    return report


def examples(store: Store) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.read("select * from examples order by id").to_pylist()
    return rows


def test_where_an_input_begins_is_kept_beside_an_id_that_it_does_not_change(
    store: Store, tmp_path: Path
) -> None:
    rows = [
        {"instruction": "Sum\n\nup.", "input": "1 2", "output": "3"},
        {"instruction": "Sum.", "input": "", "output": "none"},
        {"instruction": "", "input": "1 2", "output": "4"},
    ]
    run(store, write_rows(tmp_path / "pool.jsonl", rows))
    joined = [
        {"role": "user", "content": "Sum\n\nup.\n\n1 2"},
        {"role": "assistant", "content": "3"},
    ]
    (shard,) = store.shards()
    found = pq.read_table(shard.path).to_pylist()
    assert identify(joined).id in [row["id"] for row in found]
    assert {row["response"]: row["input_at"] for row in found} == {"3": 10, "none": None, "4": 0}
    (block,) = read_examples(shard.path)
    assert {one.id: one.input_at for one in block}[identify(joined).id] == 10


def test_a_shard_of_before_inputs_were_kept_apart_is_read(store: Store, tmp_path: Path) -> None:
    run(store, write_rows(tmp_path / "pool.jsonl", [GOOD]))
    (shard,) = store.shards()
    pq.write_table(pq.read_table(shard.path).drop_columns("input_at"), shard.path)
    (block,) = read_examples(shard.path)
    assert [one.input_at for one in block] == [None]
    assert [row.example.input_at for row in rows_of_pool(store)] == [None]


def test_rows_become_examples_with_their_identity(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", [GOOD])
    report = run(store, path)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (example,) = examples(store)
    assert example["id"] == identify(messages).id
    assert example["group_id"] == identify(messages).group_id
    assert (example["prompt"], example["response"], example["n_chars"]) == ("a", "b", 2)
    assert json.loads(example["messages"]) == messages
    assert (example["source"], example["n_rows"]) == ("pool", 1)
    assert report == IngestReport(
        report.dataset_id, str(path), 1, 1, 0, 0, "prompt-response", "jsonl",
        {"prompt": "prompt", "response": "response", "id": "id"},
        "[user]\na\n[assistant]\nb", (), False,
    )  # fmt: skip


def test_the_same_content_has_the_same_id_in_any_format(store: Store, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    run(store, write_rows(tmp_path / "a.jsonl", [GOOD]))
    run(store, write_rows(tmp_path / "b.jsonl", [{"messages": messages}]))
    run(store, write_rows(tmp_path / "c.jsonl", [{"instruction": "a", "output": "b"}]))
    nested = {**messages[1], "name": None}
    pq.write_table(pa.table({"messages": [[messages[0], nested]]}), tmp_path / "d.parquet")
    report = run(store, tmp_path / "d.parquet")
    assert (report.n_added, report.n_duplicate) == (0, 1)
    assert [example["n_rows"] for example in examples(store)] == [4]


def test_ingesting_twice_reuses_the_dataset(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [GOOD, GOOD])
    first = run(store, path)
    again = run(store, path)
    assert again.reused and not first.reused
    assert (again.n_read, again.n_added, again.n_duplicate) == (2, 0, 2)
    assert (again.dataset_id, again.preview) == (first.dataset_id, first.preview)
    assert len(store.datasets()) == 1


def test_other_options_make_another_dataset_and_say_so(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [GOOD])
    first = run(store, path)
    other = run(store, path, source="web")
    assert other.dataset_id != first.dataset_id
    known = f"the same content is already in the store as dataset {first.dataset_id} ({path}), "
    assert other.warnings == (f"{known}read with other options",)


def test_sources_come_from_the_option_the_column_or_the_name(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{**GOOD, "source": "web", "topic": "x"}])

    def source(**options: Any) -> str:
        dataset = run(store, path, **options).dataset_id
        rows = store.read(f"select source from rows where dataset = '{dataset}'").to_pylist()
        return str(rows[0]["source"])

    assert source() == "web"
    assert source(columns={"source": "topic"}) == "x"
    assert source(columns={"source": ""}) == "a"
    assert source(columns={"source": ""}, name="mine", limit=1) == "mine"
    assert source(source="all") == "all"


def test_a_group_column_groups_different_prompts(store: Store, tmp_path: Path) -> None:
    rows = [{"prompt": p, "response": "b", "task": "t"} for p in ("a", "A")]
    run(store, write_rows(tmp_path / "a.jsonl", rows), columns={"group_id": "task"})
    assert len({example["group_id"] for example in examples(store)}) == 1


BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"prompt": "a", "resp', "not valid JSON: Unterminated string starting at at column 17"),
    (b'{"prompt": "\xe9", "response": "b"}', "not UTF-8: byte 0xe9 at byte 12"),
    (b'{"prompt": "a", "response": " "}', "empty response"),
    (b'{"prompt": "a"}', "empty response (response is null)"),
    (b'{"prompt": null, "response": "b"}', "prompt is null or missing"),
    (b'["a", "b"]', "an array, not a JSON object"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_row_stops_the_ingest_and_leaves_the_store_alone(
    store: Store, tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(good + b"\n" + line + b"\n" + good + b"\n")
    with pytest.raises(DataError) as caught:
        run(store, path)
    assert str(caught.value) == f"{path} line 2: {reason}{HINT}"
    assert store.datasets() == [] and examples(store) == []
    assert not [name for name in store.parts.rglob("*") if "staging" in str(name)]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_row_can_be_skipped_and_is_recorded(
    store: Store, tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    good = [json.dumps({**GOOD, "id": str(i)}).encode() for i in range(2)]
    path.write_bytes(good[0] + b"\n" + line + b"\n" + good[1] + b"\n")
    report = run(store, path, on_error="skip")
    assert (report.n_read, report.n_added, report.n_duplicate, report.n_failed) == (3, 1, 1, 1)
    assert report.warnings == (f"1 row skipped and recorded; the first: {path} line 2: {reason}",)
    skipped = pq.read_table(store.parts / "skipped" / f"{report.dataset_id}.parquet")
    assert skipped.to_pylist() == [{"position": 1, "place": f"{path} line 2", "reason": reason}]
    raw = store.raw_records(report.dataset_id, [2, 0])["record"].to_pylist()
    assert raw == [good[1], good[0]]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "user", "content": "a"}], "no assistant turn"),
        ([], "no messages"),
        ([None], "message 1 is null, not an object with role and content"),
        ([{"role": None, "content": "a"}], "message 1 has no role (null or missing)"),
        (
            [{"role": "user", "content": None}, {"role": "assistant", "content": "b"}],
            "message 1 (user) has no content (null or missing)",
        ),
        (
            [{"role": "assistant", "content": "b"}, {"role": "user", "content": "a"}],
            "last message is not from the assistant but from the user",
        ),
    ],
)
@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_nested_nulls_and_missing_turns_name_the_row(
    store: Store, tmp_path: Path, container: str, messages: list[Any], reason: str
) -> None:
    good = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": good}, {"messages": messages}]
    path = tmp_path / f"a.{container}"
    if container == "jsonl":
        write_rows(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(DataError) as caught:
        run(store, path)
    unit = "line" if container == "jsonl" else "row"
    assert str(caught.value) == f"{path} {unit} 2: {reason}{HINT}"


def test_a_file_without_usable_rows_is_an_error(store: Store, tmp_path: Path) -> None:
    empty = write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(DataError) as caught:
        run(store, empty)
    assert str(caught.value) == f"{empty} holds no rows; check that it is the right file"
    bad = write_rows(tmp_path / "bad.jsonl", [{"prompt": "a", "response": ""}] * 2)
    with pytest.raises(DataError) as caught:
        run(store, bad, on_error="skip")
    assert str(caught.value) == (
        f"{bad} has no usable row among 2; the first: {bad} line 1: empty response"
    )
    garbage = tmp_path / "garbage.jsonl"
    garbage.write_text("x\ny\n")
    with pytest.raises(DataError) as caught:
        run(store, garbage, on_error="skip")
    assert str(caught.value).startswith(
        f"{garbage} has no usable row among 2; the first: {garbage}"
    )
    table = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), table)
    with pytest.raises(DataError, match="holds no rows"):
        run(store, table)
    assert store.datasets() == []


def test_repeated_ids_are_counted_and_nothing_is_lost(store: Store, tmp_path: Path) -> None:
    rows = [{"id": i, "prompt": str(n), "response": "b"} for n, i in enumerate("abcacb")]
    report = run(store, write_rows(tmp_path / "a.jsonl", rows))
    assert report.n_added == 6
    repeats = "3 rows repeat the id of an earlier row (first: rows 0 and 3, counted from 0); "
    assert report.warnings == (f"{repeats}all rows are kept",)


def test_preference_data_keeps_the_chosen_and_counts_the_rejected(
    store: Store, tmp_path: Path
) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    report = run(store, write_rows(tmp_path / "a.jsonl", [row]))
    assert report.warnings == (
        "preference data: 1 rejected responses stay in the raw rows and are not in the pool",
    )
    assert examples(store)[0]["response"] == "b"
    assert json.loads(store.raw_records(report.dataset_id, [0])["record"][0].as_py()) == row


def test_limit_reads_the_first_rows(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{**GOOD, "prompt": str(i)} for i in range(20_000)])
    assert run(store, path, limit=3).n_added == 3
    assert run(store, path, limit=9000).n_read == 9000
    with pytest.raises(ConfigError, match="--limit must be at least 1, got 0"):
        run(store, path, limit=0)


def test_an_unknown_way_to_treat_errors_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--on-error must be fail or skip, got 'ignore'"):
        run(store, write_rows(tmp_path / "a.jsonl", [GOOD]), on_error="ignore")


def test_progress_counts_rows(store: Store, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{**GOOD, "prompt": str(i)} for i in range(10_000)])
    seen: list[int] = []
    ingest(store, str(path), progress=seen.append)
    assert seen == [8192, 10_000]


def test_a_failure_while_writing_leaves_the_store_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.store import PoolWriter

    def fail(self: PoolWriter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PoolWriter, "commit", fail)
    with pytest.raises(KeyboardInterrupt):
        run(store, write_rows(tmp_path / "a.jsonl", [GOOD]))
    assert store.datasets() == []
    assert not [name for name in store.parts.rglob("*") if "staging" in str(name)]


HALF = r"which is no character and not text in UTF-8"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "a \ud800", "response": "b"}, "prompt"),
        ({"prompt": "a", "response": "\ud800"}, "response"),
        ({**GOOD, "id": "\ud800"}, "id"),
        ({**GOOD, "source": "\ud800"}, "source"),
        ({**GOOD, "chat_template_kwargs": {"\ud800": 1}}, "chat_template_kwargs"),
        ({"messages": [{"role": "user", "content": "\ud800"}, ANSWER]}, "messages"),
        ({"messages": json.dumps([{"role": "user", "content": "\ud800"}, ANSWER])}, "messages"),
        ({"messages": [ANSWER], "tools": [{"name": "\ud800"}]}, "tools"),
        ({"messages": [ANSWER], "tools": [json.dumps({"name": "\ud800"})]}, "tools"),
    ],
)
def test_a_lone_surrogate_in_what_is_read_names_the_row_and_column(
    store: Store, tmp_path: Path, row: dict[str, Any], column: str
) -> None:
    good = {**GOOD, "source": "s"} if "prompt" in row else {"messages": [ANSWER]}
    path = write_rows(tmp_path / "a.jsonl", [good, row, good])
    reason = f"{path} line 2: column '{column}' has half of a surrogate pair (\\ud800), {HALF}"
    with pytest.raises(DataError) as caught:
        run(store, path)
    assert str(caught.value) == reason + HINT
    report = run(store, path, on_error="skip")
    assert (report.n_read, report.n_added, report.n_failed) == (3, 1, 1)
    assert report.warnings[0] == f"1 row skipped and recorded; the first: {reason}"


def test_pairs_and_what_is_not_read_stay_as_they_are(store: Store, tmp_path: Path) -> None:
    rows = [
        {"prompt": "\U0001f600", "response": "\\ud800"},
        {"prompt": "a", "response": "b", "note": "\udfff"},
    ]
    path = write_rows(tmp_path / "a.jsonl", rows)
    assert run(store, path).n_added == 2
    assert sorted(example["response"] for example in examples(store)) == ["\\ud800", "b"]


def test_rows_of_an_earlier_version_are_hashed_and_kept_apart(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [f'{{"prompt": "{p}", "response": "b"}}' for p in ("\\ud800", "\\ud801")]
    path.write_text("\n".join(lines) + "\n")
    with surrogates_let_in():
        report = run(store, path)
    assert report.n_added == 2
    assert [example["prompt"] for example in examples(store)] == ["\ufffd", "\ufffd"]
    stored = [json.loads(example["messages"])[0]["content"] for example in examples(store)]
    assert sorted(map(ascii, stored)) == [r"'\ud800'", r"'\ud801'"]
    raw = store.raw_records(report.dataset_id, [0, 1])["record"].to_pylist()
    assert raw == [line.encode() for line in lines]


@pytest.mark.slow
def test_a_row_of_ten_megabytes_is_a_row(store: Store, tmp_path: Path) -> None:
    big = {"prompt": "x" * 10_000_000, "response": "y"}
    path = write_rows(tmp_path / "a.jsonl", [GOOD, big, GOOD])
    assert run(store, path).n_added == 2
    (tmp_path / "a.json").write_text(json.dumps([GOOD, big]))
    assert run(store, tmp_path / "a.json").n_duplicate == 2
    pq.write_table(pa.Table.from_pylist([big]), tmp_path / "a.parquet")
    assert run(store, tmp_path / "a.parquet").n_duplicate == 1


def test_the_preview_cuts_long_messages(store: Store, tmp_path: Path) -> None:
    row = {"prompt": "x" * 1000, "response": "y"}
    preview = run(store, write_rows(tmp_path / "a.jsonl", [row])).preview
    assert preview == f"[user]\n{'x' * 600}... (400 more characters)\n[assistant]\ny"


def test_csv_and_arrow_reach_the_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('instruction,output\n"a\n",b\nc,d\n')
    report = run(store, tmp_path / "a.csv")
    assert (report.format, report.container, report.n_added) == ("alpaca", "csv", 2)
    table = pa.table({"question": ["q"], "answer": ["r"]})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert run(store, tmp_path / "a.arrow").format == "prompt-response"


def test_several_files_are_one_dataset_with_running_positions(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", [{**GOOD, "prompt": f"{name}{i}"} for i in range(2)])
    run(store, f"{tmp_path}/*.jsonl")
    rows = store.read("select position from rows order by position").to_pylist()
    assert [row["position"] for row in rows] == [0, 1, 2, 3]
