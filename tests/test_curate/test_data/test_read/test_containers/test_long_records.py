"""No record is longer than a limit, however well it compresses: memory is bounded."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.data.read import records
from curate.data.read.containers.text_readers import csv_header, read_csv, read_json, read_jsonl
from curate.data.read.records import Chunk
from curate.errors import DataError

LIMIT = 1_000
GOOD = json.dumps({"prompt": "a", "response": "b"})
LONG = json.dumps({"prompt": "a", "response": "b" * 5 * LIMIT})
REASON = "longer than 0.000953674 MiB, the most one record may have; look for a quote or bracket"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", LIMIT)


def found(chunks: Iterator[Chunk]) -> tuple[list[int], list[tuple[str, str]]]:
    """Return the lines of the good records, and place and reason of the bad ones."""
    good: list[int] = []
    bad: list[tuple[str, str]] = []
    for chunk in chunks:
        good += chunk.numbers
        bad += [(one.place.rpartition(" ")[2], one.reason) for one in chunk.bad]
    return good, bad


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_is_too_long_is_one_bad_record(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(end.join([GOOD, LONG, GOOD, ""]).encode()))
    good, [(line, reason)] = found(read_jsonl(path, "gz", 0))
    assert (good, line) == ([1, 3], "2")
    assert reason.startswith(REASON)


def test_a_last_line_without_end_is_one_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}\n{LONG}")
    good, [(line, _)] = found(read_jsonl(path, "", 0))
    assert (good, line) == ([1], "2")


def test_a_line_of_just_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{GOOD}{' ' * (LIMIT - len(GOOD))}\n{GOOD}{' ' * (LIMIT - len(GOOD) + 1)}\n")
    good, [(line, _)] = found(read_jsonl(path, "", 0))
    assert (good, line) == ([1], "2")


@pytest.mark.parametrize("text", [f"[{GOOD},\n{LONG},\n{GOOD}]", f'[{GOOD},\n{{"a": ' + "[" * 4000])
def test_an_element_that_is_too_long_is_the_last(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.data.read.containers.json_elements._BLOCK", 100)
    path = tmp_path / "a.json"
    path.write_text(text)
    good, [(line, reason)] = found(read_json(path, "", 0))
    assert (good, line) == ([1], "2")
    assert reason.startswith(REASON)


def test_a_stray_quote_is_one_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"say {n},it is {n}" for n in range(200)]
    path.write_text("\n".join(["prompt,response", "a,b", '"c,d', *rows, ""]))
    good, bad = found(read_csv(path, "", 0))
    assert bad[0][0] == "3" and bad[0][1].startswith(REASON)
    assert good[0] == 2 and len(good) > 100


@pytest.mark.parametrize("header", ['"prompt,response', "prompt,response\ra,b\rc,d\r", "p" * 5000])
def test_a_header_that_does_not_end_is_one_clear_error(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join([header, *(["a,b"] * 500)]).encode())
    with pytest.raises(
        DataError, match="line 1: the header is not valid CSV .* a quote that is not"
    ):
        csv_header(path, "")
