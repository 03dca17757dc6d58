"""A target set is read as the pool is; what cannot be one is refused, and leaves nothing."""

import json

import pytest

import curate
from curate.data.read import target
from curate.errors import ConfigError, DataError


@pytest.fixture
def pool(tmp_path):
    opened = curate.open(tmp_path / "curate.duckdb")
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
    with pytest.raises(DataError, match="5 examples, and a target set at most 3; .*--limit"):
        pool.target.add("dev", path)
    assert pool.target.add("dev", path, limit=3).target.n_examples == 3


def test_without_data_the_message_says_what_to_type(pool):
    with pytest.raises(ConfigError, match="target set 'dev' needs data; type: curate target add"):
        pool.target.add("dev")
