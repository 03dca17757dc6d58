"""kMQ through a store: what it scores by itself, and real rows."""

import json

import numpy as np
import pytest

import curate
from curate.errors import ExpressionError, MissingColumnError


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    words = ("cat", "sea", "mat", "poem", "blue", "four")
    with (folder / "rows.jsonl").open("w") as file:
        for n in range(48):
            row = {
                "prompt": f"say {words[n % 6]} {n}",
                "response": f"{words[n % 6]} " * (1 + n % 5),
            }
            file.write(json.dumps(row) + "\n")
    opened = curate.open(folder / "curate.duckdb", create=True)
    opened.ingest(str(folder / "rows.jsonl"))
    return opened


@pytest.mark.slow
def test_one_call_scores_what_is_missing_and_selects(pool, tiny_model):
    settings = {"k": "6", "prob": "softmax"}
    first = pool.select("kmq", budget="25%", settings=settings, model=str(tiny_model))
    again = pool.select("kmq", budget="25%", settings=settings, model=str(tiny_model))
    assert first.document["n_selected"] == 12 and again.document["n_scored"] == 0
    assert first.document["selection_id"] == again.document["selection_id"]
    assert set(first.document["score_sets"]) >= {"embedding", "likelihood"}


def test_any_expression_over_stored_scores_is_a_quality(pool, tiny_model):
    pool.score("length", model=str(tiny_model))
    greedy = {"k": "1", "quality": "length.response_tokens", "temperature": "0.01"}
    chosen = pool.select("kmq", budget="5", settings=greedy, model=str(tiny_model))
    ids = chosen.rows().column("id").to_pylist()
    longest = pool.sql("select id from scores order by length.response_tokens desc, id limit 5")
    tokens = dict(pool.sql("select id, length.response_tokens from scores").iter_rows())
    assert sorted(tokens[i] for i in ids) == sorted(tokens[i] for i in longest["id"])


def test_an_embedding_that_is_not_stored_is_named(pool, tiny_model):
    with pytest.raises(
        MissingColumnError, match="alias 'minilm'.*curate score --scorer NAME --as m"
    ):
        pool.select("kmq", budget="5", settings={"embedding": "minilm"}, model=str(tiny_model))


def test_a_quality_that_is_not_stored_is_named(pool, tiny_model):
    with pytest.raises(ExpressionError, match="reward.value"):
        pool.select("kmq", budget="5", settings={"quality": "reward.value"}, model=str(tiny_model))


def test_without_a_model_the_message_says_what_to_pass(pool, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "say", "response": "so"}) + "\n")
    fresh = curate.open(tmp_path / "curate.duckdb", create=True)
    fresh.ingest(str(rows))
    with pytest.raises(
        MissingColumnError, match=r"'embedding' .*is not in the store; pass --model"
    ):
        fresh.select("kmq", budget="1")


@pytest.mark.slow
def test_real_rows_are_covered_better_than_by_chance(realdata, realmodel, tmp_path):
    """Eight short examples of each of twelve tasks: how many of the tasks twelve picks come from."""
    import pyarrow.parquet as pq

    columns = ["prompt", "response", "label"]
    table = pq.read_table(realdata / "ni_pool.parquet", columns=columns).to_pylist()
    tasks: dict[str, list] = {}
    for row in table:
        if len(row["prompt"]) < 300 and len(tasks.setdefault(row["label"], [])) < 8:
            tasks[row["label"]].append(row)
    chosen = [rows for rows in tasks.values() if len(rows) == 8][:12]
    with (tmp_path / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for rows in chosen for row in rows)
    opened = curate.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(tmp_path / "rows.jsonl"))

    def covered(method: str, seed: int, **fields: str) -> int:
        picked = opened.select(method, budget=12, seed=seed, model=str(realmodel), settings=fields)
        ids = picked.rows().column("id").to_pylist()
        positions = opened.store.first_rows(ids).column("position").to_pylist()
        return len({position // 8 for position in positions})

    ours = [covered("kmq", seed, k="12") for seed in range(3)]
    assert np.mean(ours) > np.mean([covered("random", seed) for seed in range(3)])
