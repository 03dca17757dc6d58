"""Fields of one record of a CSV file, whatever is in them."""

import csv

import pytest

import curate as cu
from curate.store.pool.raw import csv_fields


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ("a;b\r", ["a", "b"]),
        ('"a\r\nb";c', ["a\r\nb", "c"]),
        ("a\u2028b;\x0cc\x85;\x1cd", ["a\u2028b", "\x0cc\x85", "\x1cd"]),
        ("", []),
    ],
)
def test_only_line_ends_outside_quotes_end_a_record(record, fields):
    assert csv_fields(record, ";") == fields


def test_python_s_limit_stays_what_it_was():
    limit = csv.field_size_limit()
    assert csv_fields("x" * (limit + 1), ",") == ["x" * (limit + 1)]
    assert csv.field_size_limit() == limit


def test_a_column_beside_a_line_separator_is_ranked_by(tmp_path):
    path = tmp_path / "pool.csv"
    path.write_text("prompt,response,n\na\u2028b,c,1\nd\x0ce,f,2\n", encoding="utf-8")
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    chosen = pool.select(data=[str(path)], rank="row.n", budget=1)
    assert [row["response"] for row in chosen] == ["f"]
