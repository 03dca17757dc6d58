"""A file that is not what its name says is called what it is, with what to do."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import resolve
from curate.errors import DataError

LINE = b'{"prompt": "a", "response": "b"}\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"prompt": ["a"], "response": ["b"]}), sink)
    return bytes(sink.getvalue())


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(open_reader(resolve(str(path))).chunks())
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.jsonl", gzip.compress(LINE), "compressed by gzip"),
        ("a.csv", pa.compress(LINE, "zstd", asbytes=True), "compressed by zstd"),
        ("a.json", parquet(), "a Parquet file"),
        ("a.arrow", parquet(), "a Parquet file"),
    ],
)
def test_a_file_is_read_under_the_name_the_error_gives(
    tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    words = refusal(path)
    assert words.startswith(f"{path} is {what}, which its name does not say; rename it to ")
    renamed = path.rename(tmp_path / words.split()[-1])
    assert sum(len(chunk) for chunk in open_reader(resolve(str(renamed))).chunks()) == (
        0 if name == "a.csv" else 1
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (POINTER, "is a pointer of Git LFS, not the data; fetch the data: git lfs pull"),
        (b"PK\x03\x04...", "is a zip archive; unpack it, and give what is in it"),
        (b"\n<!DOCTYPE html><p>", "is a web page, not data; download the data again"),
    ],
)
def test_what_is_no_data_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name) == f"{tmp_path / name} {words}"


def test_damage_in_a_file_of_the_right_kind_stays_damage(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet()[:-9])
    assert "is not a readable Parquet file: " in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize("form", ["UTF-16LE", "UTF-16BE"])
def test_utf_16_without_a_mark_is_told_by_its_first_letter(
    tmp_path: Path, name: str, form: str
) -> None:
    (tmp_path / name).write_bytes(LINE.decode().encode(form))
    assert refusal(tmp_path / name) == (
        f"{tmp_path / name} is UTF-16 text, not UTF-8; convert it: "
        f"iconv -f {form} -t UTF-8 {name} > utf8-{name}"
    )
