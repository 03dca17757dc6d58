"""Text that is not UTF-8 in Parquet and Arrow: the row is named, and skipped where that is asked for."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data.read.containers import arrow_readers
from curate.data.read.containers.arrow_readers import read_loaded
from curate.data.read.containers.not_utf8 import not_utf8_rows
from curate.data.read.ingest import IngestOptions, ingest
from curate.data.read.records import BadRecord
from curate.errors import DataError
from curate.store import Store

PROMPTS = [b"a", b"b", b"caf\xe9 or tea", b"d", None]
REASON = "column 'prompt' is not UTF-8: byte 0xe9 at byte 3"


def as_text(values: list[bytes | None], type_: pa.DataType | None = None) -> pa.Array:
    """Return bytes as a column of text that nobody has checked."""
    type_ = type_ or pa.string()
    large = type_ == pa.large_string()
    view = type_ == pa.string_view()
    binary = pa.large_binary() if large else pa.binary_view() if view else pa.binary()
    return pa.array(values, binary).view(type_)


def table_of(prompts: pa.Array, **columns: Any) -> pa.Table:
    return pa.table({"prompt": prompts, "response": ["r"] * len(prompts), **columns})


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("name", ["pool.parquet", "pool.arrow"])
@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()], ids=str)
def test_a_row_is_named_or_skipped_and_counted(
    tmp_path: Path, name: str, type_: pa.DataType
) -> None:
    path = write(table_of(as_text(PROMPTS[:4], type_)), tmp_path / name)
    store = Store(tmp_path / "curate.duckdb")
    with pytest.raises(DataError) as caught:
        ingest(store, str(path))
    assert str(caught.value) == (
        f"{path} row 3: {REASON}; correct it, or skip bad rows and record them with --on-error skip"
    )
    assert store.datasets() == []
    (report,) = ingest(store, str(path), IngestOptions(on_error="skip"))
    assert (report.n_read, report.n_added, report.n_failed) == (4, 3, 1)
    assert report.warnings == (f"1 row skipped and recorded; the first: {path} row 3: {REASON}",)
    kept = store.read("select position from rows order by position")["position"].to_pylist()
    assert kept == [0, 1, 3]
    raw = store.raw_records(report.dataset_id, [0, 1, 3])
    assert raw["prompt"].to_pylist() == ["a", "b", "d"]


INNER = {
    "struct": [{"ZZZZ": 1}],
    "list": [[{"ZZZZ": 1}]],
    "deep": [{"a": [{"b": {"ZZZZ": 1}}]}],
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("name", ["pool.parquet", "pool.arrow"])
def test_a_name_inside_a_column_that_is_not_utf8_is_refused(
    tmp_path: Path, name: str, inner: str
) -> None:
    path = tmp_path / name
    table = table_of(pa.array(["a"]), extra=INNER[inner])
    if path.suffix == ".parquet":
        pq.write_table(table, path, store_schema=False)
    else:
        write(table, path)
    path.write_bytes(path.read_bytes().replace(b"ZZZZ", b"\xff\xfe\xfd\xfc"))
    kind = path.suffix[1:].title()
    said = f"{path} is not a readable {kind} file: .* can't decode byte 0xff in position 0"
    with pytest.raises(DataError, match=said):
        ingest(Store(tmp_path / "curate.duckdb"), str(path), IngestOptions(on_error="skip"))


def test_a_column_that_is_not_read_is_named_too(tmp_path: Path) -> None:
    notes = as_text([b"", b"\xff", b""])
    path = write(table_of(pa.array(["a", "b", "c"]), note=notes), tmp_path / "pool.parquet")
    with pytest.raises(DataError, match=r"row 2: column 'note' is not UTF-8: byte 0xff at byte 0;"):
        ingest(Store(tmp_path / "curate.duckdb"), str(path))


TEXTS = as_text(PROMPTS)
TURNS = pa.StructArray.from_arrays([TEXTS], ["content"])
OFFSETS = pa.array([0, 1, 2, 3, 4, 5], pa.int32())
COLUMNS = {
    "view": as_text(PROMPTS, pa.string_view()),
    "struct": TURNS,
    "list": pa.ListArray.from_arrays(OFFSETS, TURNS),
    "large list": pa.LargeListArray.from_arrays(OFFSETS.cast(pa.int64()), TEXTS),
    "fixed list": pa.FixedSizeListArray.from_arrays(TURNS, 1),
    "map": pa.MapArray.from_arrays(OFFSETS, pa.array(list("abcde")), TEXTS),
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, None]), TEXTS),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_text_at_any_depth_is_looked_at(column: pa.Array) -> None:
    assert not_utf8_rows(pa.record_batch({"prompt": column})) == {2: REASON}
    assert not_utf8_rows(pa.record_batch({"prompt": column.slice(1, 3)})) == {1: REASON}
    assert not_utf8_rows(pa.record_batch({"prompt": column.slice(3)})) == {}


def test_offsets_that_lead_outside_are_damage_not_a_row() -> None:
    offsets = pa.py_buffer(pa.array([0, 9_999_999, 4], pa.int32()).buffers()[1].to_pybytes())
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xff\xffab")])
    with pytest.raises(pa.ArrowInvalid, match="[Oo]ffset"):
        not_utf8_rows(pa.record_batch({"prompt": broken}))
    turns = pa.StructArray.from_arrays([as_text([b"\xff", b"b"]), broken], ["a", "b"])
    with pytest.raises(pa.ArrowInvalid, match="[Oo]ffset"):
        not_utf8_rows(pa.record_batch({"turns": turns}))


def test_rows_after_a_bad_one_keep_their_places_in_small_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow_readers, "MAX_ROWS", 2)
    table = table_of(as_text([b"a", b"\xff", b"c", b"d", b"\xfe"]))

    class Loaded:
        """What `datasets` gives, as far as it is read."""

        def with_format(self, name: str) -> "Loaded":
            assert name == "arrow"
            return self

        def iter(self, batch_size: int) -> list[pa.Table]:
            assert batch_size == 2
            return [table]

    chunks = list(read_loaded(Loaded(), "hub", table.schema))
    assert [list(chunk.positions) for chunk in chunks] == [[0], [2, 3], []]
    assert [chunk.place(i) for chunk in chunks for i in range(len(chunk))] == [
        "hub row 1", "hub row 3", "hub row 4",
    ]  # fmt: skip
    assert [bad for chunk in chunks for bad in chunk.bad] == [
        BadRecord(1, "hub row 2", "column 'prompt' is not UTF-8: byte 0xff at byte 0"),
        BadRecord(4, "hub row 5", "column 'prompt' is not UTF-8: byte 0xfe at byte 0"),
    ]
