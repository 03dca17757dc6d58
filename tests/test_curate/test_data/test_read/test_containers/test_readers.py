"""Containers: what is read is what the file holds, streamed, and damage is named with its place."""

import gzip
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.data.read.containers.json_elements import elements
from curate.data.read.containers.readers import open_reader
from curate.data.read.containers.text_readers import parse_object
from curate.data.read.records import MAX_ROWS, BadRecord, Chunk
from curate.data.read.sources import resolve
from curate.errors import DataError


def chunks_of(path: Path | str) -> list[Chunk]:
    return list(open_reader(resolve(str(path))).chunks())


def rows_of(path: Path | str) -> list[dict[str, Any]]:
    return [dict(row) for chunk in chunks_of(path) for row in chunk.rows or chunk.raw.to_pylist()]


def records_of(path: Path | str) -> list[bytes]:
    return [record for chunk in chunks_of(path) for record in chunk.raw["record"].to_pylist()]


def bad_of(path: Path | str) -> list[BadRecord]:
    return [bad for chunk in chunks_of(path) for bad in chunk.bad]


def zst(data: bytes) -> bytes:
    sink = io.BytesIO()
    with pa.CompressedOutputStream(pa.PythonFile(sink, "w"), "zstd") as stream:
        stream.write(data)
        stream.flush()
        sink.close = lambda: None  # type: ignore[method-assign]
    return sink.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zst}
ROWS = [{"prompt": "a é", "response": "b\nc"}, {"prompt": "x", "response": "y"}]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_text_containers_are_read_plain_and_compressed(tmp_path: Path, suffix: str) -> None:
    texts = {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "b.json": json.dumps(ROWS, indent=2),
        "c.csv": 'prompt,response\na é,"b\nc"\nx,y\n',
        "d.tsv": 'prompt\tresponse\na é\t"b\nc"\nx\ty\n',
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(COMPRESS[suffix](text.encode()))
        assert rows_of(path) == ROWS, name


@pytest.mark.parametrize("suffix", COMPRESS)
def test_columnar_containers_keep_schema_and_values(tmp_path: Path, suffix: str) -> None:
    table = pa.table(
        {"prompt": pa.array(["a", None], pa.large_string()), "n": pa.array([1, 2], pa.int16())},
        metadata={"note": "kept"},
    )
    parquet, file, stream = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    for name, sink in {"a.parquet": parquet, "b.arrow": file, "c.arrow": stream}.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(COMPRESS[suffix](sink.getvalue()))
        reader = open_reader(resolve(str(path)))
        assert reader.schema.equals(table.schema, check_metadata=True), name
        read = pa.Table.from_batches([chunk.raw for chunk in reader.chunks()])
        assert read.equals(table, check_metadata=True), name


def test_a_json_file_may_be_one_object_or_json_lines(tmp_path: Path) -> None:
    one = tmp_path / "one.json"
    one.write_text(json.dumps(ROWS[0], indent=1))
    assert rows_of(one) == ROWS[:1]
    lines = tmp_path / "lines.json"
    lines.write_text("\n".join(json.dumps(row) for row in ROWS))
    assert rows_of(lines) == ROWS
    array = tmp_path / "array.json"
    array.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS).encode())
    assert rows_of(array) == ROWS


lines = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=10) | st.integers(), max_size=3),
    max_size=8,
)


@settings(max_examples=50)
@given(lines, st.sampled_from(["\n", "\r\n", "\n\n", "\n \r\n"]), st.booleans(), st.booleans())
def test_jsonl_records_are_the_exact_lines(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    ending: str,
    ascii_only: bool,
    ends: bool,
) -> None:
    texts = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    data = ending.join(texts) + (ending if ends else "")
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(data.encode())
    records = records_of(path)
    assert [record.removesuffix(b"\r") for record in records] == [text.encode() for text in texts]
    kept = [line for line in data.encode().split(b"\n") if line.strip()]
    assert [r.rstrip(b"\r") for r in records] == [line.rstrip(b"\r") for line in kept]
    assert records[:-1] == kept[:-1]


def test_the_last_line_gets_the_ending_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\r\n{"a": 2}')
    assert records_of(path) == [b'{"a": 1}\r', b'{"a": 2}\r']
    table = tmp_path / "a.csv"
    table.write_bytes(b"a,b\r\n1,2\r\n3,4")
    assert records_of(table) == [b"1,2\r", b"3,4\r"]


nested = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", "}]", "[{", ","]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.lists(st.dictionaries(st.text(max_size=4), nested, max_size=3), max_size=6), st.data())
def test_array_elements_are_found_whatever_the_blocks(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    indent = data.draw(st.sampled_from([None, 1]))
    texts = [json.dumps(row, indent=indent, ensure_ascii=False) for row in rows]
    document = ("[ " + " ,\n".join(texts) + "\n]").encode()
    size = data.draw(st.integers(1, 40))

    class Trickle(io.BytesIO):
        def read(self, n: int | None = -1, /) -> bytes:
            return super().read(size)

    found = list(elements(Trickle(document)))
    assert [element.text for element in found] == [text.encode() for text in texts]
    assert not any(element.problem for element in found)


def test_array_elements_know_their_lines() -> None:
    document = b'[\n{"a": "\n"},\n\n{"b": 1}]'
    assert [element.line for element in elements(io.BytesIO(document))] == [2, 5]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ('[{"a": 1}, 7, {"a": 2}]', ["not a JSON object: '7'"]),
        ('[{"a": 1} {"a": 2}]', ["not valid JSON: a comma is missing"]),
        ('[{"a": 1}, {"a": 2},]', ["not valid JSON: an extra comma"]),
        ('[{"a": 1}, {"a": }, {"a": 2}]', ["not valid JSON: Expecting value at column 7"]),
        ('[{"a": 1}, [1], {"a": 2}]', ["an array, not a JSON object"]),
        ('[{"a": 1}, {"a": 2}', ["the file ends inside the JSON"]),
        ('[{"a": 1}, {"a": 2}, {"a": "x', ["the file ends inside the JSON"]),
        ('[{"a": 1}, {"a": 2}] x', ["text that is not part of the JSON"]),
        ('[{"a": 1}, {"a": 2}]]', ["an unmatched closing bracket"]),
        ("[]", []),
        ("hello", ["text that is not part of the JSON"]),
    ],
)
def test_damage_in_an_array_leaves_the_other_elements(
    tmp_path: Path, text: str, reasons: list[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert [bad.reason for bad in bad_of(path)] == reasons
    assert rows_of(path) == ([{"a": 1}, {"a": 2}] if '"a"' in text else [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": }', "not valid JSON: Expecting value at column 7"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at byte 7"),
        (b"[1]", "an array, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (b"12", "a number, not a JSON object"),
        (b"true", "a boolean, not a JSON object"),
        (b'"x"', "a string, not a JSON object"),
        (b"[" * 100_000, "not usable JSON: nested too deeply"),
    ],
)
def test_a_bad_line_in_the_middle_has_its_number_and_reason(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    assert bad_of(path) == [BadRecord(1, f"{path} line 3", reason)]
    (chunk,) = chunks_of(path)
    assert (list(chunk.positions), chunk.place(1)) == ([0, 2], f"{path} line 4")


def test_lone_surrogates_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\\ud800"}\n')
    assert rows_of(path) == [{"a": "\ud800"}]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"prompt,response\ra,b\rc,d\r", "(it ends in \\r, as in classic Mac files); look"),
        (b'\xef\xbb\xbf"prompt","response"\r"a\nx",b\r', "(it ends in \\r, as in classic Mac"),
        (b'"prompt,response\na,b\n', "(the file ends inside quotes); look for"),
        (b'prompt,"response\na,"b"\n', "(',' expected after '\"'); look for a"),
        (b'"prompt"x,response\na,b\n', "(',' expected after '\"'); look for a"),
    ],
)
def test_a_csv_header_that_cannot_be_read_is_one_error(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        open_reader(resolve(str(path)))
    assert str(caught.value).startswith(f"{path} line 1: the header is not valid CSV {words}")


def test_the_advice_for_classic_mac_lines_works(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(b"prompt,response\ra,b\rc,d\r")
    with pytest.raises(DataError) as caught:
        open_reader(resolve(str(tmp_path / "a b.csv")))
    advice = str(caught.value).partition("line ends to \\n: ")[2]
    subprocess.run(advice, shell=True, cwd=tmp_path, check=True)
    assert rows_of(tmp_path / "lines-a b.csv") == [
        {"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"},
    ]  # fmt: skip


def test_csv_keeps_records_with_line_breaks_and_names_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid;text\r\n1;"a\r\n""b"""\r\n\r\n2\r\n3;"\xff"\r\n4;"c" d\r\n5;e\r\n6;\rf\r\n'
    )
    assert rows_of(path) == [{"id": "1", "text": 'a\r\n"b"'}, {"id": "5", "text": "e"}]
    assert records_of(path)[0] == b'1;"a\r\n""b"""\r'
    assert [(bad.place, bad.reason) for bad in bad_of(path)] == [
        (f"{path} line 5", "1 fields, but the header has 2"),
        (f"{path} line 6", "not UTF-8: byte 0xff at byte 3 of the record"),
        (f"{path} line 7", "not valid CSV: ';' expected after '\"'"),
        (f"{path} line 9", "not valid CSV: a carriage return outside quotes"),
    ]
    assert open_reader(resolve(str(path))).extra["csv"] == {"delimiter": ";", "header": "id;text\r"}


def test_a_csv_header_may_hold_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"the\nprompt",response\na,b\n')
    assert rows_of(path) == [{"the\nprompt": "a", "response": "b"}]
    assert open_reader(resolve(str(path))).extra["csv"]["header"] == '"the\nprompt",response'


def test_a_csv_field_may_be_large(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,response\n{'x' * 500_000},y\n")
    assert len(rows_of(path)[0]["prompt"]) == 500_000


def test_chunks_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 20_000)
    assert [len(chunk) for chunk in chunks_of(path)] == [MAX_ROWS, MAX_ROWS, 20_000 - 2 * MAX_ROWS]
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(20_000)}), parquet)
    assert max(len(chunk) for chunk in chunks_of(parquet)) <= MAX_ROWS
    positions = [position for chunk in chunks_of(parquet) for position in chunk.positions]
    assert positions == list(range(20_000))


def test_head_counts_bad_records_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nx\n{"a": 2}\n{"a": 3}\n')
    (chunk,) = chunks_of(path)
    assert [chunk.head(n).n_read for n in range(6)] == [0, 1, 2, 3, 4, 4]
    assert [len(chunk.head(n)) for n in range(6)] == [0, 1, 1, 2, 3, 3]


def test_null_fields_of_nested_columns_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    messages = [{"role": "user", "content": "a"}, {"role": "tool", "content": "b", "name": "f"}]
    pq.write_table(pa.table({"messages": [messages]}), path)
    assert chunks_of(path)[0].values("messages") == [messages]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.parquet", b"not parquet at all", "is not a readable Parquet file"),
        ("a.arrow", b"not arrow at all, really", "is not a readable Arrow file"),
        ("a.jsonl.gz", b"not gzip", "the file is damaged or not .gz"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-20],
            "the file is damaged or not .gz",
        ),
        ("a.jsonl.zst", b"not zstd", "the file is damaged or not .zst"),
        ("a.csv", b"a,a\n1,2\n", "line 1: the header has column 'a' twice; rename one"),
        ("a.csv", b"\xff,b\n1,2\n", "line 1: not UTF-8: byte 0xff at byte 0; convert the file"),
        ("a.txt", b"hello", "unknown file type '.txt'; write .jsonl, .json, .csv"),
    ],
)
def test_damaged_and_unknown_files_are_one_error(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        chunks_of(path)
    assert str(caught.value).startswith(str(path)) or f" {path}" in str(caught.value)
    assert words in str(caught.value)


def test_a_truncated_parquet_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1000)}), path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        chunks_of(path)


def test_files_of_one_dataset_must_have_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "b.parquet")
    with pytest.raises(
        DataError, match=r"differ in their columns \('a', 'b'\); ingest them separately"
    ):
        chunks_of(tmp_path / "*.parquet")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,c\n1,2\n")
    with pytest.raises(DataError, match=r"has the header 'a,c', .*a\.csv has 'a,b'; ingest them"):
        chunks_of(tmp_path / "*.csv")


def test_a_column_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    table = pa.table({"u": union})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=r"column 'u' of type sparse_union.* cannot be kept"):
        chunks_of(tmp_path / "a.arrow")


def test_parse_object_gives_reasons_in_words() -> None:
    with pytest.raises(
        ValueError, match="not valid JSON: Expecting ',' delimiter at line 2 column 3"
    ):
        parse_object(b'{"a": 1\n  "b": 2}')
