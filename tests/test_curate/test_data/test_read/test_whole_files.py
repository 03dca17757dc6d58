"""Files that are not what their name says, as a whole: the error says what the thing is."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.contracts import Budget, View
from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import resolve
from curate.errors import DataError
from curate.store import Store
from curate_selectors.top_k import TopK

ROW = {"prompt": "a", "response": "b"}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(open_reader(resolve(str(path))).chunks())
    return str(caught.value)


def test_an_array_named_jsonl_is_read_under_the_name_the_error_gives(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([ROW], indent=1))
    words = refusal(path)
    assert words == f"{path} is one JSON array, not JSON Lines; rename it to a.json"
    renamed = path.rename(tmp_path / words.split()[-1])
    assert [len(chunk) for chunk in open_reader(resolve(str(renamed))).chunks()] == [1]


def test_one_object_over_lines_is_read_under_the_name_the_error_gives(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW, indent=1) + "\n" + json.dumps(ROW, indent=1))
    words = refusal(path)
    assert words == f"{path} is JSON over several lines, not JSON Lines; rename it to a.json"
    renamed = path.rename(tmp_path / words.split()[-1])
    assert [len(chunk) for chunk in open_reader(resolve(str(renamed))).chunks()] == [2]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_utf_16_is_called_utf_16(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(json.dumps(ROW).encode("utf-16"))
    assert "is UTF-16 text, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8" in refusal(path)


def test_a_list_of_lists_of_turns_says_where_a_list_belongs(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([[{"from": "human", "value": "a"}]], indent=1))
    named = path.with_suffix(".jsonl")
    named.write_bytes(path.read_bytes())
    assert refusal(named) == f"{named} is one JSON array, not JSON Lines; rename it to a.json"
    (chunk,) = open_reader(resolve(str(path))).chunks()
    assert 'put a list of turns under a name, as in {"messages": [...]}' in chunk.bad[0].reason


def test_two_columns_of_one_name_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    arrays = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.table(arrays, names=["prompt", "response", "response"]), path)
    assert refusal(path) == f"{path}: the file has column 'response' twice; rename one"


def test_json_turns_of_an_extension_type_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [[json.dumps({"role": "user", "content": "a"})]]
    column = pa.array(texts, pa.list_(pa.string())).cast(pa.list_(pa.json_()))
    pq.write_table(pa.table({"messages": column}), path)
    assert open_reader(resolve(str(path))).schema.names == ["messages"]


def test_a_store_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/s.duckdb").path == tmp_path / "s.duckdb"


@pytest.mark.parametrize(("values", "tied"), [([1.0, 1.0, 1.0], True), ([1.0, 2.0, 1.0], False)])
def test_a_rank_that_ties_everywhere_warns(values: list[float], tied: bool) -> None:
    view = View(np.array([b"a", b"b", b"c"]), {"rank": np.array(values)})
    chosen = TopK("n_rows").select(view, Budget(2), np.random.default_rng(0))
    assert bool(chosen.warnings) is tied
    if tied:
        assert chosen.warnings[0].startswith("--rank n_rows is 1 for all 3 examples: the 2 taken")


def test_two_fields_of_one_name_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    turn = [pa.array(["user"]), pa.array(["a"]), pa.array(["b"])]
    turns = pa.StructArray.from_arrays(turn, names=["role", "content", "content"])
    column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), turns)
    pq.write_table(pa.table({"messages": column}), path)
    said = f"{path}: column 'messages' has field 'content' twice; rename one"
    assert refusal(path) == said


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": pa.array(["c"]), "response": pa.array(["d"]), "tag": pa.array(["t"])},
        {"response": pa.array(["d"]), "prompt": pa.array(["c"])},
        {"prompt": pa.array(["c"], pa.large_string()), "response": pa.array(["d"])},
        {"prompt": pa.array(["c"]).dictionary_encode(), "response": pa.array(["d"])},
        {"prompt": pa.array(["c"]), "response": pa.array(["d"]).cast(pa.json_())},
    ],
)
def test_parquet_files_that_drift_are_read_as_one(
    tmp_path: Path, other: dict[str, pa.Array]
) -> None:
    first = {"prompt": pa.array(["a"]), "response": pa.array(["b"]), "tag": pa.nulls(1)}
    pq.write_table(pa.table(first), tmp_path / "0.parquet")
    pq.write_table(pa.table(other), tmp_path / "1.parquet")
    chunks = list(open_reader(resolve(str(tmp_path / "*.parquet"))).chunks())
    rows = [row for chunk in chunks for row in chunk.raw.to_pylist()]
    assert [(row["prompt"], row["response"]) for row in rows] == [("a", "b"), ("c", "d")]
    assert [row["tag"] for row in rows] == [None, "t" if "tag" in other else None]


def test_a_number_that_the_type_of_another_file_cannot_hold_names_its_column(
    tmp_path: Path,
) -> None:
    for name, number in (("0", 2**60 + 1), ("1", 0.5)):
        rows = {"prompt": ["a"], "response": ["b"], "id": [number]}
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError) as caught:
        list(open_reader(resolve(str(tmp_path / "*.parquet"))).chunks())
    words = str(caught.value)
    assert words.startswith(
        f"{tmp_path}/0.parquet: column 'id' of type int64 has a value that double, its type beside other"
    )
    assert words.endswith("; ingest the files separately")
