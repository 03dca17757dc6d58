import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate as cu
from curate.contracts import Budget, Expression, View
from curate.errors import BudgetError
from curate.registry import get_selector

Dedup = get_selector("dedup")


def view_of(cluster, similarity=None, rank=None):
    """Examples whose first of each cluster is its representative."""
    cluster = np.array(cluster)
    first = np.array(
        [row == cluster.tolist().index(code) for row, code in enumerate(cluster)], bool
    )
    similarity = np.where(first, 1.0, 0.9) if similarity is None else np.array(similarity)
    columns = {
        "near_duplicate.is_copy": ~first, "near_duplicate.cluster": cluster,
        "near_duplicate.similarity": similarity,
    }  # fmt: skip
    if rank is not None:
        columns["rank"] = np.array(rank, dtype=float)
    return View(np.array([f"{row:04d}".encode() for row in range(len(cluster))]), columns)


def choose(view, budget, seed=0, **settings):
    chosen = Dedup(**settings).select(
        view, None if budget is None else Budget(budget), np.random.default_rng(seed)
    )
    return chosen, chosen.indices.tolist()


def test_without_a_budget_it_is_every_representative():
    chosen, picked = choose(view_of([0, 0, 1, 2, 1]), None)
    assert sorted(picked) == [0, 2, 3]
    assert chosen.gains.tolist() == [1, 1, 1]
    assert chosen.reasons == ["distinct"] * 3
    assert chosen.warnings == ()


def test_copies_come_after_all_that_is_distinct_the_least_alike_first():
    view = view_of([0, 0, 0, 1, 1], [1, 0.95, 0.8, 1, 0.85])
    chosen, picked = choose(view, 5)
    assert sorted(picked[:2]) == [0, 3]
    assert picked[2:] == [2, 4, 1]  # the second of each cluster, 0.8 and 0.85, then the third
    assert chosen.reasons[2] == "place 2 of its cluster, similarity 0.800"
    assert chosen.gains.tolist() == pytest.approx([1, 1, 0.2, 0.15, 0.05])
    [warning] = chosen.warnings
    assert warning == (
        "5 examples were asked for and only 2 are distinct: 3 of those chosen are copies of others; "
        "ask for at most 2, or raise near_duplicate.threshold"
    )


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.data())
@settings(deadline=None, max_examples=50)
def test_no_choice_of_that_size_has_fewer_copies(cluster, data):
    n = data.draw(st.integers(1, len(cluster)))
    _, picked = choose(view_of(cluster), n, seed=data.draw(st.integers(0, 3)))
    assert len(picked) == len(set(picked)) == n
    assert len({cluster[row] for row in picked}) == min(n, len(set(cluster)))


def test_rank_takes_the_best_of_each_cluster_and_the_best_clusters_first():
    view = view_of([0, 0, 1, 2, 2], rank=[1, 5, 3, np.nan, 2])
    chosen, picked = choose(view, 4, rank="text_stats.n_words")
    assert picked == [1, 2, 4, 0]
    assert chosen.excluded == {"rank or similarity is null or not finite": 1}
    assert Dedup(rank="n_chars").requires()["rank"] == Expression("n_chars")


def test_the_seed_decides_which_representatives_come_first():
    view = view_of(range(40))
    assert choose(view, 10)[1] == choose(view, 10)[1] != choose(view, 10, seed=1)[1]


def test_more_than_there_are_is_refused():
    with pytest.raises(BudgetError, match="only 2 are eligible"):
        choose(view_of([0, 0]), 3)


def test_scores_what_it_needs_and_selects_from_a_pool(tmp_path):
    texts = ["A tree is green in the summer", "a tree is GREEN in the summer!", "The sea is blue"]
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "Say something.", "response": text} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(str(path))
    chosen = pool.select("dedup", budget=2).to_polars()["response"].to_list()
    assert texts[2] in chosen
    assert len(chosen) == 2
