"""Exports: order, duplicates, annotations, dialects, and nothing half-written."""

import errno
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import NOTES, SELECTION, bring, export, line, line_columns, select

from curate.data.write.rows import export_selection
from curate.errors import ConfigError, DataError, StoreError
from curate.store import Store

# Order, duplicates, annotations ------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


@pytest.fixture
def pool(store: Store, tmp_path: Path) -> tuple[Store, list[str], list[str]]:
    """Rows 0 1 2 1 0, their exact lines, and the ids of 0, 1 and 2."""
    lines = [json.dumps(line(i, at=at)) for at, i in enumerate([0, 1, 2, 1, 0])]
    bring(store, tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    return store, lines, select(store)


def test_rank_order_writes_the_first_row_of_each(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, lines, ids = pool
    select(store, [ids[2], ids[0], ids[1]])
    out = tmp_path / "b.jsonl"
    assert export(store, out).n_rows == 3
    assert out.read_text().splitlines() == [lines[2], lines[0], lines[1]]
    export(store, out, order="input")
    assert out.read_text().splitlines() == [lines[0], lines[1], lines[2]]
    assert export(store, out, keep_duplicates=True).n_rows == 5
    assert out.read_text().splitlines() == [lines[i] for i in (2, 0, 4, 1, 3)]
    export(store, out, keep_duplicates=True, order="input")
    assert out.read_text().splitlines() == lines


def test_annotations_are_appended_and_nothing_else_changes(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, lines, ids = pool
    out = tmp_path / "b.jsonl"
    report = export(store, out, annotate=True)
    first = out.read_text().splitlines()[0]
    assert first.startswith(lines[0][:-1] + ', "curate_id": "')
    assert json.loads(first) == {
        **json.loads(lines[0]), "curate_id": ids[0], "curate_rank": 1, "curate_gain": 3.5,
        "curate_weight": None, "curate_reason": "number 0, best",
    }  # fmt: skip
    assert report.columns[-5:] == tuple(NOTES)


def test_annotating_again_replaces_the_notes(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, _, ids = pool
    export(store, tmp_path / "b.jsonl", annotate=True)
    again = Store(tmp_path / "again.duckdb")
    bring(again, tmp_path / "b.jsonl")
    select(again, ids[::-1])
    export(again, tmp_path / "c.jsonl", annotate=True)
    first = (tmp_path / "c.jsonl").read_text().splitlines()[0]
    assert first.count("curate_rank") == 1
    assert json.loads(first)["curate_rank"] == 1


@pytest.mark.parametrize("container", ["parquet", "csv", "arrow"])
def test_annotations_of_other_containers(store: Store, tmp_path: Path, container: str) -> None:
    if container == "csv":
        bring(store, tmp_path / "a.csv", "prompt,response\r\np0,r0\r\np1,r1")
    else:
        pq.write_table(pa.table(line_columns(2)), tmp_path / "a.parquet")
        bring(store, tmp_path / "a.parquet")
    ids = select(store)
    out = tmp_path / f"b.{container}"
    export(store, out, annotate=True)
    if container == "csv":
        assert (
            out.read_bytes()
            == (
                f"prompt,response,{','.join(NOTES)}\r\n"
                f'p0,r0,{ids[0]},1,2.5,,"number 0, best"\r\n'
                f'p1,r1,{ids[1]},2,1.5,,"number 1, best"\r\n'
            ).encode()
        )
        return
    table = pq.read_table(out) if container == "parquet" else pa.ipc.open_file(out).read_all()
    assert table.column_names == ["prompt", "response", *NOTES]
    assert table["curate_id"].to_pylist() == ids
    assert table["curate_rank"].to_pylist() == [1, 2]


def test_a_csv_with_notes_already_says_so(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path / "a.csv", "prompt,response,curate_id\na,b,c\n")
    select(store)
    with pytest.raises(DataError, match="the input already has a column 'curate_id'; rename it"):
        export(store, tmp_path / "b.csv", annotate=True)


@pytest.mark.slow
def test_many_rows_reach_rank_order(store: Store, tmp_path: Path) -> None:
    n = 20_000
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(line(i)) + "\n" for i in range(n)))
    ids = select(store)
    order = np.random.default_rng(0).permutation(n)
    select(store, [ids[i] for i in order])
    export(store, tmp_path / "b.jsonl")
    found = [json.loads(text)["prompt"] for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert found == [f"p{i}" for i in order]


# Several datasets --------------------------------------------------------------------------------


def test_datasets_of_one_layout_share_a_file(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path / "a.jsonl", json.dumps(line(0)) + "\n")
    bring(store, tmp_path / "b.json", json.dumps([line(1, more=1)], indent=1))
    ids = select(store)
    select(store, ids[::-1])
    export(store, tmp_path / "c.jsonl")
    found = [json.loads(text) for text in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert found == [line(1, more=1), line(0)]


def test_datasets_of_different_columns_need_messages(store: Store, tmp_path: Path) -> None:
    bring(store, tmp_path / "a.jsonl", json.dumps(line(0)) + "\n")
    pq.write_table(pa.table({"question": ["q"], "answer": ["a"]}), tmp_path / "b.parquet")
    bring(store, tmp_path / "b.parquet")
    bring(store, tmp_path / "c.csv", "instruction,output\ni,o\n")
    select(store)
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / "d.jsonl")
    assert str(caught.value) == (
        f"the selection spans datasets with different columns ({tmp_path}/a.jsonl and "
        f"{tmp_path}/b.parquet), which cannot share a file unchanged; use --to messages"
    )
    export(store, tmp_path / "d.jsonl", to="messages")
    found = [json.loads(text) for text in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [row["messages"][0] for row in found] == [
        {"role": "user", "content": content} for content in ("p0", "q", "i")
    ]


# Dialects ----------------------------------------------------------------------------------------

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def conversation(*contents: str, system: str | None = None) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(contents)
    listed = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return {"messages": [{"role": "system", "content": system}] * bool(system) + listed}


def with_tools() -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_call_id": "1"},
            {"role": "assistant", "content": "b"},
        ],
        "tools": TOOLS,
    }


def test_messages_round_trip_with_tools(store: Store, tmp_path: Path) -> None:
    rows = [conversation("a", "b", "c", "d", system="s"), with_tools()]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ids = select(store)
    export(store, tmp_path / "b.jsonl", to="messages")
    found = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert found == rows
    again = Store(tmp_path / "again.duckdb")
    bring(again, tmp_path / "b.jsonl")
    assert select(again) == ids


def test_sharegpt_round_trip(store: Store, tmp_path: Path) -> None:
    rows = [conversation("a", "b", system="s"), with_tools()]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    select(store)
    export(store, tmp_path / "b.json", to="sharegpt")
    first, second = json.loads((tmp_path / "b.json").read_text())
    assert [turn["from"] for turn in first["conversations"]] == ["system", "human", "gpt"]
    assert second["conversations"][1] == {
        "from": "function_call", "value": json.dumps(CALL["function"]),
    }  # fmt: skip
    assert json.loads(second["tools"]) == TOOLS


def test_alpaca_and_prompt_completion(store: Store, tmp_path: Path) -> None:
    rows = [conversation("a", "b"), conversation("c", "d", "e", "f", system="s")]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ids = select(store)
    export(store, tmp_path / "b.json", to="alpaca")
    assert json.loads((tmp_path / "b.json").read_text()) == [
        {"instruction": "a", "input": "", "output": "b"},
        {"instruction": "e", "input": "", "output": "f", "system": "s", "history": [["c", "d"]]},
    ]
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / "b.jsonl", to="prompt-completion")
    assert str(caught.value) == (
        f"1 of 2 rows cannot be written as prompt-completion ({ids[1]} has a system message); "
        "use --to messages, or --lossy to write what fits"
    )
    assert not (tmp_path / "b.jsonl").exists()
    select(store, ids[:1])
    export(store, tmp_path / "b.parquet", to="prompt-completion", annotate=True)
    assert pq.read_table(tmp_path / "b.parquet").column_names == ["prompt", "completion", *NOTES]


@pytest.mark.parametrize(
    ("message", "to", "reason"),
    [
        ({"reasoning_content": "r"}, "sharegpt", "a reasoning_content"),
        ({"tool_calls": [CALL]}, "sharegpt", "text beside a tool call"),
        ({"tool_calls": [CALL]}, "alpaca", "tool calls"),
        ({"name": "ann"}, "alpaca", "a name"),
        ({"content": [{"type": "image", "image": "x"}]}, "alpaca", "content that is not text"),
    ],
)
def test_what_a_dialect_cannot_hold_is_named(
    store: Store, tmp_path: Path, message: dict[str, Any], to: str, reason: str
) -> None:
    row = conversation("a", "b")
    row["messages"][-1] |= message
    rows = [row, *(conversation(f"{i}", "b") for i in range(3))]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ids = select(store)
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / "b.jsonl", to=to)
    assert str(caught.value) == (
        f"1 of 4 rows cannot be written as {to} ({ids[0]} has {reason}); use --to messages, or "
        "--lossy to write what fits"
    )


# The file itself ---------------------------------------------------------------------------------


def test_the_report_describes_the_file(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, _, _ = pool
    for name in ("b.jsonl", "b.json.gz", "b.parquet", "b.csv.zst", "b.arrow"):
        path = tmp_path / "new" / "folder" / name
        report = export(store, path)
        data = path.read_bytes()
        assert report.sha256 == hashlib.sha256(data).hexdigest(), name
        assert (report.path, report.n_bytes, report.n_rows) == (path, len(data), 3)
        assert export(store, path).sha256 == report.sha256, name


def test_gz_output_is_gzip(pool: tuple[Store, list[str], list[str]], tmp_path: Path) -> None:
    store, lines, _ = pool
    export(store, tmp_path / "b.jsonl.gz")
    assert (
        gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()).decode().splitlines() == lines[:3]
    )


def test_a_folder_holds_parquet_shards(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, _ = pool
    folder = tmp_path / "out"
    report = export(store, folder)
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    assert (report.container, pq.read_table(folder).num_rows) == ("folder", 3)
    (folder / "README.md").write_text("card")
    assert export(store, folder).sha256 == report.sha256
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'thesis\.tex', which is not an export; choose"):
        export(store, folder)
    assert (folder / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["b.jsonl", "b.parquet", "out"])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    pool: tuple[Store, list[str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    store, _, _ = pool
    target = tmp_path / "disk" / name

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        export(store, target)
    assert str(caught.value) == (
        f"no space left to write {target}; nothing was written: free some space on that disk, "
        "or choose another with -o"
    )
    assert list(target.parent.iterdir()) == []


def test_a_failed_export_leaves_the_file_before_it(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, _, _ = pool
    out = tmp_path / "b.jsonl"
    out.write_text("before")
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"cannot write .*/file is not a folder; choose another place with -o"
    ):
        export_selection(store, SELECTION, tmp_path / "file" / "b.jsonl")
    with pytest.raises(DataError, match=r"unknown file type '\.xlsx'; write \.jsonl, \.json"):
        export(store, tmp_path / "b.xlsx")
    assert out.read_text() == "before"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "chatml"}, "unknown --to 'chatml'; choose input, messages, sharegpt, alpaca"),
        ({"order": "random"}, "unknown --order 'random'; choose rank or input"),
    ],
)
def test_unknown_options_are_refused(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        export(pool[0], tmp_path / "b.jsonl", **options)


def test_an_empty_selection_has_nothing_to_export(
    pool: tuple[Store, list[str], list[str]], tmp_path: Path
) -> None:
    store, _, _ = pool
    select(store, [])
    with pytest.raises(DataError, match="the selection is empty; there is nothing to export"):
        export(store, tmp_path / "b.jsonl")


@pytest.mark.slow
def test_real_rows_come_back_unchanged(store: Store, realdata: Path, tmp_path: Path) -> None:
    path = realdata / "math_gsm8k_solutions.parquet"
    bring(store, path)
    select(store)
    export(store, tmp_path / "b.parquet", order="input", keep_duplicates=True)
    assert pq.read_table(tmp_path / "b.parquet").equals(pq.read_table(path), check_metadata=True)
    export(store, tmp_path / "b.jsonl", order="input", keep_duplicates=True)
    found = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert found == pq.read_table(path).to_pylist()
