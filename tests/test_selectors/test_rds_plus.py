"""RDS+ equals its slow reference: every target example in turn, over all cosines of stored vectors."""

import json

import numpy as np
import pytest

import curate as cu
from curate_selectors.rds_plus import RDSPlus


@pytest.fixture(scope="module")
def pool(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("pool")
    words = ("cat", "sea", "mat", "poem", "blue", "four")

    def written(name, numbers):
        rows = [
            {"prompt": f"say {words[n % 6]}", "response": f"{words[n % 5]} {n}"} for n in numbers
        ]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder / name)

    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(written("pool.jsonl", range(50)))
    opened.target.add("dev", written("dev.jsonl", range(100, 108)))
    return opened


def stored(pool):
    """Return ids and unit vectors, in order of id."""
    rows = pool.sql("select id, vector from vectors order by id")
    vectors = np.array(rows["vector"].to_list())
    return rows["id"].to_list(), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_selection_is_that_of_the_slow_reference(pool, tiny_model, seed):
    chosen = pool.select("rds-plus", budget="20", target="dev", seed=seed, model=str(tiny_model))
    ids, vectors = stored(pool)
    cosines = (vectors @ stored(pool.target["dev"])[1].T).round(10)
    order = np.random.default_rng(seed).permutation(cosines.shape[1])
    left = list(range(len(ids)))
    expected = []
    for turn in range(20):
        target = order[turn % len(order)]
        best = max(left, key=lambda row: (cosines[row, target], -row))
        left.remove(best)
        expected.append(ids[best])
    assert chosen.ids == expected


def test_by_the_highest_cosine_it_ranks_the_pool_once(pool, tiny_model):
    chosen = pool.select(
        "rds-plus", budget="12", target="dev", settings={"aggregate": "max"}, model=str(tiny_model)
    )
    ids, vectors = stored(pool)
    best = (vectors @ stored(pool.target["dev"])[1].T).round(10).max(axis=1)
    expected = sorted(range(len(ids)), key=lambda row: (-best[row], row))[:12]
    assert chosen.ids == [ids[row] for row in expected]


def test_with_an_encoder_it_still_reads_the_model_s_own_states(pool, tiny_model, minilm):
    pool.select(
        "rds-plus", budget="3", target="dev", model=str(tiny_model),
        model_for={"encoder": str(minilm)},
    )  # fmt: skip
    assert (
        pool.sql("select scorer from score_sets")["scorer"]
        .unique()
        .to_list()
        .count("sentence-embedding")
        == 0
    )


def test_it_asks_for_states_weighted_by_position():
    assert RDSPlus().requires()["embedding"].config == {"pooling": "weighted_mean"}
