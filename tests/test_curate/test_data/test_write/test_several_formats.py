"""A pool of files of different formats is exported with defaults: as messages, which is said."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate as cu
from curate.errors import ConfigError, DataError


def test_rows_that_cannot_share_a_file_are_written_as_messages(tmp_path, monkeypatch):
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"prompt": "Say a.", "response": "a", "mark": 3}) + "\n")
    pq.write_table(pa.table({"question": ["Say b."], "answer": ["b"]}), tmp_path / "b.parquet")
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    said = []
    monkeypatch.setattr(pool.progress, "note", said.append, raising=False)
    pool.ingest(str(lines), str(tmp_path / "b.parquet"))
    chosen = pool.select("random", budget=2, output=tmp_path / "both.jsonl")
    warning = (
        f"{lines} and {tmp_path / 'b.parquet'} have different columns, which cannot share a file unchanged: "
        "rows are written as messages, without their other columns; to choose another format: --to FORMAT"
    )
    assert f"warning: {warning}" in said
    written = [json.loads(line) for line in (tmp_path / "both.jsonl").read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in written] == [
        row["response"] for row in chosen
    ]
    manifest = json.loads((tmp_path / "both.jsonl.manifest.json").read_text())
    assert manifest["output"]["to"] == "messages"
    again = pool.export(chosen, tmp_path / "other.jsonl")
    assert again["warnings"] == [warning]
    one = pool.select("random", where="source = 'a'", budget=1)
    assert pool.export(one, tmp_path / "one.jsonl")["warnings"] == []
    assert (tmp_path / "one.jsonl").read_text() == lines.read_text()
    with pytest.raises(DataError, match="the selection spans datasets with different columns"):
        pool.export(
            chosen, tmp_path / "asked.jsonl", to="input"
        )  # what is asked for is not replaced
    with pytest.raises(
        ConfigError, match="LLaMA-Factory cannot be given --to 'input'; choose sharegpt"
    ):
        pool.export(one, tmp_path / "folder", trainer="llama-factory", to="input")
