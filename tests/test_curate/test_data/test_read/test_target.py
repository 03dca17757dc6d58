"""A target set is read as the pool is; what cannot be one is refused, and leaves nothing."""

import json
from dataclasses import asdict

import pytest

import curate
from curate.data.read import target
from curate.errors import ConfigError, DataError, StoreError


@pytest.fixture
def pool(tmp_path):
    opened = curate.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(written(tmp_path / "pool.jsonl", range(6))))
    return opened


def written(path, numbers):
    rows = [{"prompt": f"say {n}", "response": f"{n} indeed"} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_the_pool_in_it_and_a_size_beyond_the_pool_s_are_said(pool, tmp_path):
    report = pool.target.add("dev", str(written(tmp_path / "dev.jsonl", range(4, 12))))
    assert (report.target.n_rows, report.target.n_examples, report.target.n_in_pool) == (8, 8, 2)
    assert report.warnings == (
        "2 of its 8 examples are in the pool too: a model trained on them cannot be evaluated on them",
        "it has 8 examples, more than the 6 of the pool",
    )


def test_several_files_are_one_target_and_repeats_count_once(pool, tmp_path):
    first = written(tmp_path / "a.jsonl", (1, 7))
    second = written(tmp_path / "b.jsonl", (7, 8))
    made = pool.target.add("dev", str(first), str(second)).target
    assert (made.n_rows, made.n_examples, made.n_in_pool) == (4, 3, 1)
    assert pool.target.list()["name"].to_list() == ["dev"] and len(pool.target["dev"]) == 3


def test_the_same_data_again_is_there_already_and_other_data_is_refused(pool, tmp_path):
    path = str(written(tmp_path / "dev.jsonl", (9,)))
    pool.target.add("dev", path)
    assert pool.target.add("dev", path).reused
    with pytest.raises(ConfigError, match=r"with other data \(.*dev.jsonl\).*target remove dev"):
        pool.target.add("dev", str(tmp_path / "pool.jsonl"))
    pool.target.remove("dev")
    assert repr(pool.target) == "PoolTargets(none)"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no rows"), ('{"prompt": "a"}\n', "dev.jsonl"), ("not json\n", "dev.jsonl")],
)
def test_a_file_without_a_usable_row_leaves_nothing(pool, tmp_path, text, words):
    (tmp_path / "dev.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        pool.target.add("dev", str(tmp_path / "dev.jsonl"))
    assert pool.store.targets() == [] and not list(pool.store.parts.glob(".staging*"))


def test_more_than_can_be_a_target_is_refused_and_the_first_of_them_taken(
    pool, tmp_path, monkeypatch
):
    monkeypatch.setattr(target, "MAX_EXAMPLES", 3)
    path = str(written(tmp_path / "dev.jsonl", range(20, 25)))
    with pytest.raises(DataError, match="more than 3 examples, and a target set .*--limit"):
        pool.target.add("dev", path)
    assert pool.target.add("dev", path, limit=3).target.n_examples == 3


def test_reading_stops_as_soon_as_more_than_can_be_a_target_are_there(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(target, "MAX_EXAMPLES", 3)
    with written(tmp_path / "many.jsonl", range(9_000)).open("a") as file:
        file.write("not json\n")
    n_read = []
    with pytest.raises(DataError, match="many.jsonl holds more than 3 examples"):
        target.add_target(pool.store, "dev", [str(tmp_path / "many.jsonl")], progress=n_read.append)
    assert n_read == [] and not list(pool.store.parts.glob(".staging*"))


def test_what_repeats_counts_once_towards_the_most_a_target_may_hold(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(target, "MAX_EXAMPLES", 3)
    files = [written(tmp_path / "a.jsonl", (7, 7, 8)), written(tmp_path / "b.jsonl", (7, 8, 9))]
    made = pool.target.add("dev", *map(str, files)).target
    assert (made.n_rows, made.n_examples) == (6, 3)


def test_a_set_whose_file_was_lost_is_not_said_to_be_there(pool, tmp_path):
    path = str(written(tmp_path / "dev.jsonl", (9,)))
    pool.target.add("dev", path)
    (pool.store.parts / "targets" / "dev" / "target.duckdb").unlink()
    with pytest.raises(StoreError, match="its file .* is missing.*remove it and add it again"):
        pool.target.add("dev", path)
    pool.target.remove("dev")
    assert not pool.target.add("dev", path).reused


def test_a_store_of_before_there_were_targets_lists_none(pool, tmp_path):
    pool.target.add("dev", str(written(tmp_path / "dev.jsonl", (9,))))
    full = pool.target.list()
    assert full.row(0, named=True) == asdict(pool.store.target_set("dev"))
    with pool.store.write() as con:
        con.execute("drop table targets")
    assert len(pool.target.list()) == 0 and pool.target.list().schema == full.schema


def test_without_data_the_message_says_what_to_type(pool):
    with pytest.raises(ConfigError, match="target set 'dev' needs data; type: curate target add"):
        pool.target.add("dev")
