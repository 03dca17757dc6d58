"""Columnar files with types and values that Python or Parquet have no room for, and damaged ones."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate as cu
from curate.data.read.ingest import IngestOptions, ingest
from curate.data.read.records import BadRecord, repeated
from curate.data.read.score_table import read_score_table, score_columns
from curate.errors import DataError
from curate.store import Store
from curate.store.pool.values import python_values

FAR = 2**31 - 1  # days: the year 5,881,580


def write(path: Path, **columns: Any) -> str:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return str(path)


@pytest.mark.parametrize("name", ["pool.arrow", "pool.parquet"])
def test_views_are_read_skipped_and_exported(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / name,
        prompt=pa.array(["a", None, "c"], pa.string_view()),
        response=pa.array(["x", "y", "z"], pa.string_view()),
        tags=pa.array([["t"], [], ["u"]], pa.list_(pa.string_view())),
    )
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    (report,) = pool.ingest(path, on_error="skip")
    assert (report.n_added, report.n_failed) == (2, 1)
    out = tmp_path / f"out{Path(name).suffix}"
    pool.select(rank="n_chars", budget=1).export(out)
    read = pa.ipc.open_file(out).read_all() if out.suffix == ".arrow" else pq.read_table(out)
    assert read.to_pydict() == {"prompt": ["c"], "response": ["z"], "tags": [["u"]]}


def test_values_that_python_has_no_room_for_become_text() -> None:
    dates = pa.array([0, FAR], pa.date32())
    assert python_values(dates)[1] == f"<value out of range: {FAR}>"
    zone = pa.array([5], pa.timestamp("us", tz="Nowhere/At_all"))
    assert python_values(zone) == ["5"]
    twice = pa.array([[("a", 1), ("a", 2)], [("b", 3)]], pa.map_(pa.string(), pa.int64()))
    assert python_values(twice) == [[["a", 1], ["a", 2]], {"b": 3}]
    inside = pa.array(
        [{"d": FAR, "e": [FAR]}], pa.struct({"d": pa.date32(), "e": pa.list_(pa.date32())})
    )
    assert python_values(inside)[0]["e"] == [f"<value out of range: {FAR}>"]


def test_a_row_with_such_a_date_beside_its_text_is_an_example(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pool.parquet", prompt=["a"], response=["b"], id=pa.array([FAR], pa.date32())
    )
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    (report,) = pool.ingest(path)
    assert report.n_added == 1
    example = pool.sql("select id from examples").item()
    assert pool.explain(example)["id"] == example
    chosen = pool.select("random", budget=1)
    with pytest.raises(
        DataError,
        match=r"column 'id' of type date32\[day\] cannot be written as JSON \(.*\); write",
    ):
        chosen.export(tmp_path / "out.jsonl")


def test_a_time_that_parquet_cannot_hold_is_one_error(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pool.arrow",
        prompt=["a"], response=["b"], at=pa.array([2**60], pa.timestamp("s")),
    )  # fmt: skip
    store = Store(tmp_path / "s.duckdb")
    with pytest.raises(DataError) as caught:
        ingest(store, path)
    said = str(caught.value)
    assert said.startswith(f"{path} has a value that cannot be kept (Integer overflow when casting")
    assert said.endswith("; cast or drop its column") and store.datasets() == []


@pytest.mark.parametrize("name", ["pool.parquet", "pool.arrow"])
def test_a_damaged_file_inside_a_whole_compressed_one_is_one_error(
    tmp_path: Path, name: str
) -> None:
    plain = Path(write(tmp_path / name, prompt=["a"] * 50, response=["b"] * 50))
    held = bytearray(plain.read_bytes())
    for at in range(len(held) - 60, len(held) - 12):
        held[at] ^= 0xA5
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(bytes(held)))
    with pytest.raises(DataError, match="is not a readable (Parquet|Arrow) file"):
        ingest(Store(tmp_path / "s.duckdb"), str(packed))


def test_a_hundred_thousand_columns_are_refused_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.arrow", **{f"c{i}": ["a"] for i in range(100_000)})
    with pytest.raises(DataError) as caught:
        ingest(Store(tmp_path / "s.duckdb"), path)
    assert "its columns are c0, c1," in str(caught.value)
    assert "and 99970 more" in str(caught.value)
    with pytest.raises(DataError, match="beside the ids|cannot be a score") as caught:
        score_columns(pa.table({f"é{i}": ["a"] for i in range(1_000)}), None, ())


def test_the_first_name_that_comes_again_is_found() -> None:
    assert repeated(["a", "b", "c", "b", "a"]) == "b"
    assert repeated(["a", "b"]) is None


def test_what_is_recorded_of_a_bad_row_can_be_stored(tmp_path: Path) -> None:
    assert BadRecord(0, "p", "role '\ud800'").reason == "role '\\ud800'"
    rows = [
        {"messages": [{"role": "\ud800", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    ]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (report,) = ingest(Store(tmp_path / "s.duckdb"), str(path), IngestOptions(on_error="skip"))
    assert (report.n_added, report.n_failed) == (1, 1)


# Tables of scores ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.jsonl", b'{"id": "a", "x": 1}\nnull\n', "{0} line 2: null, not a JSON object; correct it"),
        ("s.jsonl", b'{"id": "a", "x": 1}\n{"id": "b", "x": "c"}\n',
         "cannot read {0!r} as jsonl: column 'x': "),
        ("s.csv", b"id,x,x\na,1,2\n", "{0}: the file has column 'x' twice; rename one"),
        ("s.csv", b"id,caf\xe9\na,1\n", "{0} is damaged or not UTF-8: "),
    ],
)  # fmt: skip
def test_a_table_of_scores_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_score_table(path, ["id"])
    assert str(caught.value).startswith(said.format(str(path)))


def test_records_with_other_keys_and_kinds_of_numbers_are_one_table(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "x": 1}\n{"id": "b", "x": 2.5, "y": "c"}\n'))
    table = read_score_table(path, ["id"])
    assert table.to_pydict() == {"id": ["a", "b"], "x": [1.0, 2.5], "y": [None, "c"]}


def test_large_numbers_of_scores_are_floats_or_refused() -> None:
    large = pa.table({"x": pa.array([2**64 - 1], pa.uint64())})
    dtypes, values, _ = score_columns(large, None, ())
    assert dtypes == {"x": "float"} and values["x"].to_pylist() == [float(2**64)]
    with pytest.raises(DataError, match="column 'x' has a value that no score can hold"):
        score_columns(pa.table({"x": [[2**40]]}), None, ())


def test_a_damaged_arrow_table_of_scores_is_one_error(tmp_path: Path) -> None:
    sink = io.BytesIO()
    table = pa.table({"id": ["a", "b"], "x": [1.0, 2.0]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    whole = sink.getvalue()
    path = tmp_path / "s.arrow"
    n_refused = 0
    for at in range(8, len(whole), 4):
        path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        try:
            score_columns(read_score_table(path, ["id"]), "id", ())
        except DataError:
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize("size", [-1, -5])
def test_lists_of_a_size_that_none_can_have_are_one_error(tmp_path: Path, size: int) -> None:
    odd = 7_919  # found again among the bytes
    table = pa.table(
        {"prompt": ["Hi?"], "response": ["Hi."], "x": pa.nulls(1, pa.list_(pa.int8(), odd))}
    )
    whole = io.BytesIO()
    with pa.ipc.new_stream(whole, table.schema) as writer:
        writer.write_table(table)
    wanted = odd.to_bytes(4, "little"), size.to_bytes(4, "little", signed=True)
    (tmp_path / "odd.arrow").write_bytes(whole.getvalue().replace(*wanted, 1))
    with pytest.raises(
        DataError, match=f"odd.arrow is not a readable Arrow file: .*fixed size {size}"
    ):
        cu.open(tmp_path / "pool.duckdb", create=True).ingest(tmp_path / "odd.arrow")
