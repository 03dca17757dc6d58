"""Taking parts in: idempotent, checked, and with a hash that only depends on the values."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ScoreError, StoreError
from curate.store import ScoreKey, Store
from curate.store.parts import part_schema, write_part
from curate.store.records import POOL_INPUT
from curate.store.upkeep.rebuild import rebuild


def test_key_changes_with_every_field() -> None:
    base = {"scorer": "s", "version": 1}
    others = [
        {"scorer": "t"}, {"version": 2}, {"config": {"a": 1}}, {"model": {"name": "m"}},
        {"tokenizer": "t"}, {"template": "chat"}, {"max_length": 9}, {"dtype": "float32"},
        {"inputs": {"a": "b"}},
    ]  # fmt: skip
    ids = {ScoreKey(**{**base, **other}).set_id for other in [{}, *others]}  # type: ignore[arg-type]
    assert len(ids) == len(others) + 1
    key = ScoreKey("s", 1, {"b": 1, "a": [1, 2]}, model={"name": "m"})
    assert ScoreKey.from_json(key.to_json()) == key
    assert len(key.set_id) == 16


def test_first_run_parameters_win(store: Store, pools: Any) -> None:
    first = store.score_set(pools.key("a"), "a", {"batch_tokens": 1})
    again = store.score_set(pools.key("a"), "a", {"batch_tokens": 2})
    assert first.set_id == again.set_id
    assert again.run == {"batch_tokens": 1}
    assert (first.folder / "set.json").exists()


def test_a_second_alias_names_the_same_set(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    pools.score(store, "a")
    named = store.score_set(pools.key("a"), "b", {})
    assert named.aliases == ("a", "b")
    assert store.read("select a.x = b.x as same from scores where a is not null")[
        "same"
    ].to_pylist() == [True] * (30 - store.score_sets()[0].n_failed)


def test_pending_shards_tell_written_from_missing(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(600))
    score_set = store.score_set(pools.key("a"), "a", {})
    shards = store.shards()
    assert store.pending_shards(score_set, shards) == (shards, [])
    write_part(score_set.part(shards[0].shard_id), pools.part(shards[0]), {})
    assert store.pending_shards(score_set, shards) == (shards[1:], shards[:1])
    store.commit_parts(score_set, [shards[0].shard_id])
    assert store.pending_shards(score_set, shards) == (shards[1:], [])


def test_committing_again_changes_nothing(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(600))
    score_set = pools.score(store, "a")
    before = store.finish(score_set)
    store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
    assert store.finish(score_set) == before
    assert (before.n_examples, before.tokens, before.device) == (
        600,
        10 * len(store.shards()),
        "cpu",
    )
    assert before.n_failed == store.read("select * from failures").num_rows > 0


@pytest.mark.slow
def test_content_hash_ignores_order_and_size_of_commits(
    store: Store, pools: Any, tmp_path: Any
) -> None:
    other = Store(tmp_path / "other.duckdb")
    pools.ingest(store, "p", range(600))
    pools.ingest(other, "q", range(300, 600))  # the same pool, cut otherwise
    pools.ingest(other, "r", range(300))
    for alias, vector in (("a", False), ("v", True)):
        whole = pools.score(store, alias, vector=vector)
        score_set = pools.write_parts(other, alias, vector=vector)
        for shard in reversed(other.shards()):
            other.commit_parts(score_set, [shard.shard_id])
        first, second = store.finish(whole), other.finish(score_set)
        assert first.content_hash == second.content_hash
        assert len(str(first.content_hash)) == 32


def test_content_hash_sees_one_changed_value(store: Store, pools: Any, tmp_path: Any) -> None:
    hashes = []
    for delta in (0.0, 1e-12):
        changed = Store(tmp_path / f"{delta}.duckdb")
        pools.ingest(changed, "p", range(30))
        score_set = changed.score_set(pools.key("a"), "a", {})
        shard = changed.shards()[0]
        part = pools.part(shard)
        x = [
            None if v is None else v + delta * (i == 3) for i, v in enumerate(part["x"].to_pylist())
        ]
        x[3] = 1.0 + delta
        failure = part["failure"].to_pylist()
        failure[3] = None
        part = part.set_column(1, part.schema.field(1), pa.array(x))
        part = part.set_column(6, part.schema.field(6), pa.array(failure, pa.string()))
        write_part(score_set.part(shard.shard_id), part, {})
        changed.commit_parts(score_set, [shard.shard_id])
        hashes.append(changed.finish(score_set).content_hash)
    assert hashes[0] != hashes[1]


def test_wrong_number_of_rows_is_refused(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    score_set = store.score_set(pools.key("a"), "a", {})
    shard = store.shards()[0]
    write_part(score_set.part(shard.shard_id), pools.part(shard).slice(1), {})
    message = r"shard p-00000: scorer 'a' returned 29 rows for 30 examples; nothing was written"
    with pytest.raises(ScoreError, match=message):
        store.commit_parts(score_set, [shard.shard_id])
    assert store.read("select * from failures").num_rows == 0
    assert store.score_sets()[0].columns == {}


def test_repeated_and_foreign_ids_are_refused(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    score_set = store.score_set(pools.key("a"), "a", {})
    shard = store.shards()[0]
    part = pools.part(shard)
    twice = pa.concat_tables([part.slice(0, 29), part.slice(0, 1)])
    write_part(score_set.part(shard.shard_id), twice, {})
    with pytest.raises(ScoreError, match="30 rows, of which 1 repeat an id and 0 have an id"):
        store.commit_parts(score_set, [shard.shard_id])
    ids = ["f" * 32, *part["id"].to_pylist()[1:]]
    write_part(score_set.part(shard.shard_id), part.set_column(0, "id", pa.array(ids)), {})
    with pytest.raises(
        ScoreError, match="0 repeat an id and 1 have an id that is not in the shard"
    ):
        store.commit_parts(score_set, [shard.shard_id])


def test_rows_go_to_their_examples_whatever_their_order_in_a_part(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(300))
    shards = store.shards()
    values = {}
    for name in ("in_order", "reversed", "shuffled"):
        score_set = store.score_set(pools.key(name), name, {})
        for shard in shards:
            part = pools.part(shard)
            order = {
                "in_order": np.arange(len(part)),
                "reversed": np.arange(len(part))[::-1],
                "shuffled": np.random.default_rng(0).permutation(len(part)),
            }[name]
            write_part(score_set.part(shard.shard_id), part.take(order), {})
        store.commit_parts(score_set, [shard.shard_id for shard in reversed(shards)])
        values[name] = store.read(f"select id, {name} from scores order by id")[name].to_pylist()
        values[f"failures of {name}"] = store.read(
            f"select id, reason from failures where set_id = '{score_set.set_id}' order by id"
        ).to_pylist()
    for name in ("reversed", "shuffled"):
        assert values[name] == values["in_order"]
        assert values[f"failures of {name}"] == values["failures of in_order"] != []


def test_a_part_with_the_examples_of_another_shard_is_refused(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(300))
    first, second = store.shards()[:2]
    score_set = store.score_set(pools.key("a"), "a", {})
    one, two = pools.part(first), pools.part(second)
    mixed = (pa.concat_tables([two[:1], one[1:]]), pa.concat_tables([one[:1], two[1:]]))
    for shard, part in zip((first, second), mixed, strict=True):
        write_part(score_set.part(shard.shard_id), part, {})
    with pytest.raises(ScoreError, match="an id that is not in the shard; nothing was written"):
        store.commit_parts(score_set, [first.shard_id, second.shard_id])


def test_a_nan_without_a_failure_is_refused(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    score_set = store.score_set(pools.key("a"), "a", {})
    shard = store.shards()[0]
    ids = pools.part(shard)["id"]
    values = pa.array([float("nan")] * 2 + [1.0] * 28)
    schema = part_schema({"x": "float"})
    part = pa.Table.from_arrays([ids, values, pa.nulls(30, pa.string())], schema=schema)
    write_part(score_set.part(shard.shard_id), part, {})
    with pytest.raises(ScoreError, match=r"returned 2 values of 'x' that are not finite"):
        store.commit_parts(score_set, [shard.shard_id])


def test_a_missing_or_damaged_part_is_said(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    score_set = store.score_set(pools.key("a"), "a", {})
    with pytest.raises(
        StoreError, match="part .*p-00000.parquet is missing; run the same command again"
    ):
        store.commit_parts(score_set, ["p-00000"])
    score_set.part("p-00000").write_bytes(b"PAR1 nothing")
    with pytest.raises(StoreError, match="is damaged .* and was removed; run the same command"):
        store.commit_parts(score_set, ["p-00000"])


def test_a_pool_scorer_is_stale_after_an_append(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    key = ScoreKey("knn", 1, inputs={POOL_INPUT: store.pool_hash()})
    score_set = store.score_set(key, "knn", {})
    shard = store.shards()[0]
    write_part(score_set.part(shard.shard_id), pools.part(shard), {})
    store.commit_parts(score_set, [shard.shard_id])
    assert not store.finish(score_set).stale
    assert "knn" in store.read("select * from scores").column_names
    pools.ingest(store, "q", range(30, 40))
    status = store.score_sets()[0]
    assert status.stale
    assert not status.complete
    assert "knn" not in store.read("select * from scores").column_names


@pytest.mark.slow
def test_rebuild_gives_the_same_store(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(600))
    pools.ingest(store, "q", range(500, 700))
    pools.score(store, "a")
    pools.score(store, "v", vector=True)
    rows = pa.table(
        {"id": ["x"], "rank": [0], "gain": [1.0], "weight": [None], "reason": ["first"]}
    )
    store.save_selection({"selection_id": "s1", "method": "random", "seed": 1}, rows)
    queries = [
        "select * from examples order by id", "select * from rows order by all",
        "select * exclude (created_at) from score_sets order by all",
        "select * from scores order by id", "select * from vectors order by all",
        "select * from failures order by all", "select * from selections",
        "select * from selection_rows",
    ]  # fmt: skip
    before = [store.read(query) for query in queries]
    shards, pool_hash = store.shards(), store.pool_hash()
    store.path.write_bytes(b"destroyed")
    found = rebuild(store.path)
    assert found == {
        "n_datasets": 2,
        "n_examples": 700,
        "n_score_sets": 2,
        "n_selections": 1,
        "n_targets": 0,
        "left_out": [],
    }
    for query, table in zip(queries, before, strict=True):
        assert store.read(query).equals(table), query
    assert (store.shards(), store.pool_hash()) == (shards, pool_hash)
