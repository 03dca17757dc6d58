"""Views: who is eligible and why not, arrays in order of id, vectors mapped from disk."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import DataError, ExpressionError, MissingColumnError
from curate.store import ScoreKey, Store
from curate.store.parts import part_schema, write_part


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, pools: Any) -> Store:
    """One pool for the tests that only look at it."""
    return _fill(Store(tmp_path_factory.mktemp("filled") / "curate.duckdb"), pools)


def _fill(store: Store, pools: Any) -> Store:
    pools.ingest(store, "a", range(600))
    pools.score(store, "first")
    pools.score(store, "embedding", vector=True)
    return store


@pytest.fixture
def bind(pools: Any) -> dict[str, str]:
    return {name: pools.key(name).set_id for name in ("first", "embedding")}


def _numbers(ids: np.ndarray) -> list[int]:
    return [int(i[:6], 16) for i in ids.tolist()]


def test_arrays_are_in_order_of_id(filled: Store, bind: dict[str, str]) -> None:
    view = filled.view(bind=bind)
    assert view.ids.dtype == "S32"
    assert (np.sort(view.ids) == view.ids).all()
    numbers = np.array(_numbers(view.ids))
    assert (view.scores("first.x") == numbers / 3).all()
    assert view.column("first.n").dtype == np.int64
    assert (view.column("first.even") == (numbers % 2 == 0)).all()
    assert view.column("first.even").dtype == np.bool_
    assert view.column("first.label")[0] == f"t{numbers[0]}"
    taken = view.vectors("embedding.vector").take(np.arange(len(view)))
    assert np.allclose(taken[:, 0], (numbers / 7).astype(np.float32))
    losses = view.vectors("first.losses").take(np.arange(3))
    assert np.allclose(losses, np.stack([numbers[:3] / 2, numbers[:3] / 4], axis=1))


def test_everybody_is_eligible_or_excluded_with_a_reason(
    filled: Store, bind: dict[str, str]
) -> None:
    view = filled.view(bind=bind, where="n_chars >= 100", exclude=["x599"])
    assert view.n_pool == 600 == len(view) + sum(view.excluded.values())
    assert view.excluded["non_finite"] == filled.score_sets()[0].n_failed
    assert view.excluded["exclude"] == 1
    assert 90 <= view.excluded["where"] <= 100


def test_groups_and_sources_are_dense_codes(filled: Store, bind: dict[str, str]) -> None:
    view = filled.view(bind=bind, where="source = 'source1'")
    assert view.source_names == ["source1"]
    assert set(view.group_codes().tolist()) == set(range(view.group_codes().max() + 1))
    table = filled.read("select id, group_id from examples order by id").to_pylist()
    groups = {row["id"]: row["group_id"] for row in table}
    ordered = sorted({groups[i.decode()] for i in view.ids.tolist()})
    codes = [ordered.index(groups[i.decode()]) for i in view.ids.tolist()]
    assert view.group_codes().tolist() == codes


def test_expressions_read_bound_and_unbound_sets_and_texts(
    filled: Store, bind: dict[str, str]
) -> None:
    view = filled.view(
        bind={"mine": bind["first"]},
        expressions={"score": "mine.x + first.n - n_chars", "known": "response like 'response 1%'"},
        where="length(prompt) > 3",
    )
    numbers = np.array(_numbers(view.ids))
    chars = filled.read("select id, n_chars from examples order by id").to_pylist()
    by_id = {row["id"]: row["n_chars"] for row in chars}
    n_chars = np.array([by_id[i.decode()] for i in view.ids.tolist()])
    assert np.allclose(view.scores("score"), numbers / 3 + numbers - n_chars)
    assert view.column("known").dtype == np.bool_


def test_an_undefined_expression_excludes(filled: Store, bind: dict[str, str]) -> None:
    view = filled.view(bind=bind, expressions={"score": "log(n_chars - 100)"})
    assert 90 <= view.excluded["no value"] <= 101
    assert np.isfinite(view.scores("score")).all()


def test_within_and_include(filled: Store, bind: dict[str, str]) -> None:
    everyone = filled.view(bind=bind)
    chosen = [i.decode() for i in everyone.ids[:5].tolist()]
    rows = pa.table(
        {
            "id": chosen, "rank": range(5), "gain": [0.0] * 5,
            "weight": pa.nulls(5, pa.float64()), "reason": ["r"] * 5,
        }
    )  # fmt: skip
    filled.save_selection({"selection_id": "sel-one", "method": "random"}, rows)
    view = filled.view(bind=bind, within="sel-one")
    assert [i.decode() for i in view.ids.tolist()] == chosen
    other = everyone.ids[7].decode()
    view = filled.view(bind=bind, within="sel-one", include=[other])
    assert [i.decode() for i in view.ids.tolist()] == sorted([*chosen, other])
    assert filled.selection("sel")["selection_id"] == "sel-one"
    with pytest.raises(
        DataError, match=r"no selection 'other' in the store; the newest are: sel-one"
    ):
        filled.view(bind=bind, within="other")


def test_datasets_narrow_the_pool_to_their_examples(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(600))
    pools.ingest(store, "b", range(590, 610))
    pools.score(store, "first")
    view = store.view(bind={"first": pools.key("first").set_id}, datasets=["b"])
    assert view.n_pool == 20 == store.n_examples(["b"])
    assert [s.shard_id for s in store.shards(["b"])] == [store.shards()[-2].shard_id, "b-00000"]
    with pytest.raises(DataError, match="no dataset 'c' in the store; it has: a, b"):
        store.view(bind={}, datasets=["c"])


def test_tokens_come_from_the_length_set(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    length = store.score_set(ScoreKey("length", 1), "length", {})
    shard = store.shards()[0]
    ids = pools.part(shard)["id"]
    arrays = [ids, pa.array(range(30)), pa.array([100] * 30), pa.nulls(30, pa.string())]
    schema = part_schema({"prompt_tokens": "int", "response_tokens": "int"})
    write_part(length.part(shard.shard_id), pa.Table.from_arrays(arrays, schema=schema), {})
    store.commit_parts(length, [shard.shard_id])
    view = store.view(bind={}, tokens_set=length.set_id, where="n_chars < 10")
    assert view.tokens is not None
    assert view.tokens.sum() == 10 * 100 + sum(range(10))
    assert view.pool_tokens == 30 * 100 + sum(range(30))


def test_an_incomplete_set_is_refused(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    pools.score(store, "first")
    pools.ingest(store, "b", range(30, 40))
    bind = {"first": pools.key("first").set_id}
    with pytest.raises(MissingColumnError, match="lacks 10 of the examples; score them first"):
        store.view(bind=bind)
    assert len(store.view(bind=bind, datasets=["a"])) > 20
    with pytest.raises(MissingColumnError, match="lacks 40 of the examples"):
        store.view(bind={"x": "0" * 16})


def test_wrong_conditions_are_explained(filled: Store, bind: dict[str, str]) -> None:
    with pytest.raises(ExpressionError, match=r"unknown column 'first.y' .*did you mean 'first.x'"):
        filled.view(bind=bind, where="first.y > 1")
    with pytest.raises(ExpressionError, match="is number, but a condition is needed"):
        filled.view(bind=bind, where="n_chars + 1")


def test_max_examples_keeps_the_first_by_id(filled: Store, bind: dict[str, str]) -> None:
    everyone = filled.view(bind=bind)
    view = filled.view(bind=bind, max_examples=7)
    assert (view.ids == everyone.ids[:7]).all()
    assert view.excluded["over max_examples"] == len(everyone) - 7
    assert view.group_codes().max() < 7


def test_an_empty_pool_gives_an_empty_view(store: Store) -> None:
    view = store.view(bind={}, where="n_chars > 1", expressions={"a": "n_chars * 2"})
    assert len(view) == 0
    assert view.n_pool == 0


def test_vectors_are_memory_mapped_and_follow_the_pool(
    store: Store, pools: Any, bind: dict[str, str]
) -> None:
    filled = _fill(store, pools)
    first = filled.view(bind=bind).vectors("embedding.vector")
    assert isinstance(first.array, np.memmap)
    pools.ingest(filled, "b", range(600, 700))
    pools.score(filled, "first")
    pools.score(filled, "embedding", vector=True)
    view = filled.view(bind=bind)
    taken = view.vectors("embedding.vector").take(np.arange(len(view)))
    assert np.allclose(taken[:, 0], (np.array(_numbers(view.ids)) / 7).astype(np.float32))
