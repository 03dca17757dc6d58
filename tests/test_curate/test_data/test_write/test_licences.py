"""Licences are read from the input's own column, whatever its container and spelling."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import bring

from curate.data.write.licences import MAX_LENGTH, licences_of
from curate.store import Store

ROWS: list[dict[str, Any]] = [
    {"prompt": "p0", "response": "r0", "License": "mit"},
    {"prompt": "p1", "response": "licence to say so", "License": None},
    {"prompt": "p2", "response": "r2", "License": " cc-by-4.0 "},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def found(store: Store) -> list[str]:
    (dataset,) = store.datasets()
    return licences_of(dataset, store.raw_records(dataset.dataset_id, [0, 1, 2]))


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "parquet"])
def test_the_column_is_found_in_every_container(
    store: Store, tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"a.{container}"
    if container == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif container == "json":
        path.write_text(json.dumps(ROWS))
    elif container == "csv":
        lines = [",".join(str(value or "") for value in row.values()) for row in ROWS]
        path.write_text("\n".join(["prompt,response,License", *lines]) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    bring(store, path)
    assert found(store) == ["mit", "", "cc-by-4.0"]


def test_lists_are_joined_long_texts_cut_and_rows_without_one_are_empty(
    store: Store, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "a", "response": "b", "licenses": ["mit", "apache-2.0"]},
        {"prompt": "c", "response": "d", "licenses": ["x" * 500]},
        {"prompt": "e", "response": "f"},
    ]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert found(store) == ["apache-2.0, mit", "x" * MAX_LENGTH, ""]


def test_a_quoted_header_with_windows_line_ends_names_the_column_too(
    store: Store, tmp_path: Path
) -> None:
    rows = [["prompt", "response", "license"], *(list(map(str, row.values())) for row in ROWS)]
    text = "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)
    bring(store, tmp_path / "a.csv", text)
    assert found(store) == ["mit", "None", "cc-by-4.0"]
