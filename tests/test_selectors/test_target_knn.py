"""Nearest to a target set: turns, ties, what is left out, and through a store."""

import json

import numpy as np
import pytest

import curate as cu
from curate import Budget, BudgetError, ConfigError, Vectors, View
from curate_selectors.target_knn import TargetKNN


def view(pool, target, **options):
    def one(points, **more):
        ids = np.array([f"{n:04}" for n in range(len(points))], dtype="S32")
        columns = {"embedding.vector": Vectors(np.asarray(points, dtype=np.float32))}
        return View(ids, vectors_by_column=columns, **more)

    return one(pool, target=one(target), **options)


POOL = [[1, 0], [2, 0.1], [0, 1], [0.1, 1], [1, 1]]
TARGET = [[1, 0], [0, 1]]


def test_target_examples_take_turns():
    chosen = TargetKNN().select(view(POOL, TARGET), Budget(4), np.random.default_rng(0))
    first = 2 if np.random.default_rng(0).permutation(2)[0] else 0
    order = [0, 2, 1, 3] if first == 0 else [2, 0, 3, 1]
    assert chosen.indices.tolist() == order
    assert chosen.gains[:2].tolist() == [1.0, 1.0]
    assert chosen.reasons[0] == f"cosine 1 with target example {0 if first == 0 else 1:04}"


def test_by_the_highest_cosine_all_may_be_near_one_target_example():
    pool = [[1, 0], [1, 0.01], [1, 0.02], [0.1, 1]]
    chosen = TargetKNN(aggregate="max").select(
        view(pool, TARGET), Budget(3), np.random.default_rng(0)
    )
    assert chosen.indices.tolist() == [0, 1, 2]


def test_the_order_of_target_examples_follows_the_seed():
    rng = np.random.default_rng(5)
    many = view(rng.normal(size=(40, 4)), rng.normal(size=(9, 4)))
    picks = {
        tuple(TargetKNN().select(many, Budget(9), np.random.default_rng(s)).indices)
        for s in range(9)
    }
    assert len(picks) > 1


def test_a_budget_of_tokens_ends_where_the_next_does_not_fit():
    tokens = np.array([5, 5, 50, 5, 5])
    chosen = TargetKNN(aggregate="max").select(
        view(POOL, [[1, 0]], tokens=tokens), Budget(15, "tokens"), np.random.default_rng(0)
    )
    assert chosen.indices.tolist() == [0, 1, 4]


def test_more_than_there_are_and_no_budget_are_refused():
    with pytest.raises(
        BudgetError, match="asks for 6 examples, but only 4 .*1 embedding has length 0"
    ):
        TargetKNN().select(view([*POOL[:4], [0, 0]], TARGET), Budget(6), np.random.default_rng(0))
    with pytest.raises(BudgetError, match="target-knn needs a budget; add --budget 10%"):
        TargetKNN().select(view(POOL, TARGET), None, np.random.default_rng(0))


def test_an_empty_embedding_and_a_view_without_target_are_told():
    with pytest.raises(ConfigError, match="target-knn.embedding is empty"):
        TargetKNN(embedding=" ")
    alone = View(np.array([b"a"]), vectors_by_column={"embedding.vector": Vectors(np.ones((1, 2)))})
    with pytest.raises(ConfigError, match="this view has no target set; add --target NAME"):
        TargetKNN().select(alone, Budget(1), np.random.default_rng(0))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Forty examples of two kinds, and a target set of one kind."""
    folder = tmp_path_factory.mktemp("pool")

    def written(name, rows):
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def kind(n, word):
        return {"prompt": f"{word} the {word} {n}", "response": f"{word} {word} {n}"}

    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(written("pool.jsonl", [kind(n, "cat" if n % 2 else "poem") for n in range(40)]))
    opened.target.add("cats", written("cats.jsonl", [kind(n, "cat") for n in (1, 77, 78)]))
    return opened


def test_one_call_scores_pool_and_target_alike_and_selects(pool, tiny_model):
    first = pool.select("target-knn", budget="10", target="cats", model=str(tiny_model))
    again = pool.select("target-knn", budget="10", target="cats")
    assert (first.document["n_scored"], again.document["n_scored"]) == (83, 0)
    assert again.ids == first.ids
    texts = first.to_arrow()["prompt"].to_pylist()
    assert sum("cat" in text for text in texts) >= 9
    target = first.document["target"]
    assert (
        target["name"] == "cats" and target["content_hash"] == pool.store.targets()[0].content_hash
    )
    assert set(target["score_sets"]) == {"embedding"}
    assert any(
        "1 of the selected examples are in target 'cats' too, word for word" in warning
        for warning in first.document["warnings"]
    )


def test_nothing_of_the_target_is_in_the_pool_s_relations(pool, tiny_model):
    pool.select("target-knn", budget="10", target="cats", model=str(tiny_model))
    assert len(pool) == 40 and len(pool.sql("select id from scores")) == 40
    assert len(pool.sql("select distinct id from vectors")) == 40
    assert len(pool.target["cats"].sql("select id from vectors")) == 3


def test_another_target_is_another_selection(pool, tiny_model, tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text(json.dumps({"prompt": "poem", "response": "poem"}) + "\n")
    pool.target.add("poems", str(path))
    ids = {
        name: pool.select("target-knn", budget="5", target=name, model=str(tiny_model)).id
        for name in ("cats", "poems")
    }
    assert ids["cats"] != ids["poems"]
    pool.target.remove("poems")


def test_it_is_reproduced_and_explained_with_its_target(pool, tiny_model, tmp_path):
    from curate.api.reproduce import reproduce
    from curate.contracts.progress import SilentProgress

    chosen = pool.select("target-knn", budget="5", target="cats", model=str(tiny_model))
    chosen.export(tmp_path / "out.jsonl")
    manifest = tmp_path / "out.jsonl.manifest.json"
    for rescore in (False, True):
        made = reproduce(
            manifest, store=None, output=None, rescore=rescore, workers=1, progress=SilentProgress()
        )
        assert made["identical"], made["differences"]
    everything = pool.sql("select id from examples order by id")["id"].to_list()
    out = next(one for one in everything if one not in chosen.ids)
    [why] = pool.explain(out, selections=(chosen.id,))["absent"]
    assert why["cause"] == "ranked below", why


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("target-knn", {}, r"'target-knn' selects towards a target set; pass --target NAME \(there are: cats\)"),
        ("target-knn", {"target": "cat"}, "no target set 'cat'; did you mean 'cats'"),
        ("random", {"target": "cats"}, "'random' selects towards nothing; leave out --target cats, or use one of: .*target-knn"),
        ("random | longest", {"target": "cats"}, "'pipeline' selects towards nothing"),
        ("random | target-knn", {}, "'pipeline' selects towards a target set"),
    ],
)  # fmt: skip
def test_a_target_that_is_missing_unknown_or_of_no_use_is_told(pool, method, options, words):
    with pytest.raises(ConfigError, match=words):
        pool.select(method, budget="5", **options)


def test_a_stage_of_a_pipeline_selects_towards_the_target(pool, tiny_model):
    chosen = pool.select("random | target-knn", budget="5", target="cats", model=str(tiny_model))
    assert len(chosen) == 5 and chosen.document["target"]["name"] == "cats"
