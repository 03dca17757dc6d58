"""Percentiles agree with counting."""

import json
from pathlib import Path

import numpy as np

import curate as cu
from curate.store import Store


def test_percentiles_are_those_of_counting(tmp_path: Path) -> None:
    lengths = [1, 5, 5, 2, 9, 5, 7]
    rows = [{"prompt": f"p{i}", "response": "a b" * n} for i, n in enumerate(lengths)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "a.jsonl"))
    pool.score("mtld", workers=1)
    table = pool.sql("select id, mtld.mtld as mtld, mtld.n_words as n_words from scores")
    store = Store(tmp_path / "curate.duckdb", create=False)
    checked = 0
    for row in table.to_dicts():
        found = store.percentiles(row["id"]).get("mtld", {})
        for name, percentile in found.items():
            values = np.array([value for value in table[name].to_list() if value is not None])
            below, equal = (values < row[name]).sum(), (values == row[name]).sum()
            assert percentile == 100 * (below + equal / 2) / len(values)
            checked += 1
    assert checked >= len(lengths)


def test_without_scores_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "a.jsonl"))
    (example,) = pool.sql("select id from examples")["id"].to_list()
    assert pool.store.percentiles(example) == {}
