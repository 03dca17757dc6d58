import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data.read.ingest import ingest
from curate.store import Store
from curate.store.pool.input_values import input_values

ROWS = [
    {"prompt": "a?", "response": "a", "answer": 18, "meta": {"tests": ["assert 1"], "n": None}},
    {"prompt": "b?", "response": "b", "answer": "x", "meta": {}},
    {"prompt": "a?", "response": "a", "answer": 19, "meta": {"tests": ["second"]}},
]


def values(tmp_path, path, columns):
    store = Store(tmp_path / "curate.duckdb")
    ingest(store, str(path))
    [shard] = store.shards()
    ids = pq.read_table(shard.path, columns=["id"])["id"].to_pylist()
    prompts = {r["id"]: r["prompt"] for r in store.examples_by_id(ids).to_pylist()}
    found = dict(
        zip((prompts[i] for i in ids), input_values(shard.path, ids, columns), strict=True)
    )
    assert input_values(shard.path, ids[::-1], columns)[::-1] == input_values(
        shard.path, ids, columns
    )
    return found


def test_an_example_has_the_values_of_its_first_row_as_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = values(tmp_path, path, ["answer", "meta.tests", "meta.n", "none"])
    assert found == {
        "a?": {"answer": "18", "meta.tests": '["assert 1"]'},
        "b?": {"answer": "x"},
    }


@pytest.mark.parametrize("container", ["csv", "parquet"])
def test_the_container_changes_nothing(tmp_path, container):
    path = tmp_path / f"rows.{container}"
    meta = json.dumps({"answer": 7})
    if container == "csv":
        path.write_text(
            f'prompt,response,meta\na?,a,"{meta.replace(chr(34), chr(34) * 2)}"\nb?,b,\n'
        )
    else:
        pq.write_table(
            pa.table({"prompt": ["a?", "b?"], "response": ["a", "b"], "meta": [meta, None]}), path
        )
    assert values(tmp_path, path, ["meta.answer"]) == {"a?": {"meta.answer": "7"}, "b?": {}}


def test_characters_that_end_lines_elsewhere_end_no_row_of_csv(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,response,answer\na?,x\u2028y,7\nb?,x\x0cy,8\n")
    assert values(tmp_path, path, ["answer"]) == {"a?": {"answer": "7"}, "b?": {"answer": "8"}}


def test_an_object_nested_too_deep_for_json_holds_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "a?", "response": "a", "meta": '{"a":' * 100_000}
    path.write_text(json.dumps(row) + "\n")
    assert values(tmp_path, path, ["meta.a"]) == {"a?": {}}
