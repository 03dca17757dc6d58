import json
from dataclasses import replace

import numpy as np
import pytest

import curate as cu
from curate.algorithms.cosine import apart
from curate.contracts import Budget, Expression, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

Deita = get_selector("deita")


def view_of(points, complexity, quality=None):
    points = np.asarray(points, dtype=np.float32)
    quality = np.ones(len(points)) if quality is None else np.asarray(quality, float)
    return View(
        np.array([f"{row:04d}".encode() for row in range(len(points))]),
        {"complexity": np.asarray(complexity, float), "quality": quality},
        vectors_by_column={"embedding.vector": Vectors(points)},
    )


def choose(view, budget, **settings):
    wanted = None if budget is None else Budget(budget)
    return Deita("c", "q", **settings).select(view, wanted, np.random.default_rng(0))


def slow(points, score, threshold, size):
    """The published loop with its batch size of 1: one candidate against all that are kept."""
    unit = points.astype(np.float64) / np.linalg.norm(points, axis=1, keepdims=True)
    kept = []
    for row in np.argsort(-score, kind="stable").tolist():
        if len(kept) == size:
            break
        if all((unit[row] @ unit[other]).round(12) <= threshold for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("block", [8, 64, 4_096])
@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_picks_are_those_of_the_published_loop(block, threshold, monkeypatch):
    monkeypatch.setattr("curate.algorithms.cosine.BLOCK_ROWS", block)
    rng = np.random.default_rng(3)
    points = rng.normal(size=(20, 6))[rng.integers(0, 20, 300)] + 0.2 * rng.normal(size=(300, 6))
    points = points.astype(np.float32)
    complexity, quality = rng.integers(1, 7, 300).astype(float), rng.uniform(1, 6, 300)
    view = view_of(points, complexity, quality)
    everything = slow(points, complexity * quality, threshold, None)
    assert choose(view, None, threshold=threshold).indices.tolist() == everything
    for size in (1, 7, len(everything)):
        chosen = choose(view, size, threshold=threshold)
        assert chosen.indices.tolist() == everything[:size]
        assert chosen.gains.tolist() == (complexity * quality)[everything[:size]].tolist()


def test_a_token_budget_compares_no_more_than_it_can_hold(monkeypatch):
    rng = np.random.default_rng(5)
    points, tokens = rng.normal(size=(200, 4)), rng.integers(5, 50, 200)
    view = replace(view_of(points, rng.uniform(1, 6, 200)), tokens=tokens, pool_tokens=9_999)
    compared = []

    def noting(vectors, ranking, threshold, limit=None):
        compared.append(limit)
        return apart(vectors, ranking, threshold, limit)

    everything = choose(view, None)
    monkeypatch.setattr("curate_selectors.deita.apart", noting)
    for budget in (60, 400, int(tokens.sum())):
        fits = int((np.cumsum(np.sort(tokens)) <= budget).sum())
        chosen = Deita("c", "q").select(view, Budget(budget, "tokens"), np.random.default_rng(0))
        assert compared.pop() == min(fits + 1, 200)
        rest = [
            row
            for row in np.argsort(-view.scores("complexity"), kind="stable")
            if row not in everything.indices
        ]
        full = np.array([*everything.indices, *rest])
        assert chosen.indices.tolist() == full[np.cumsum(tokens[full]) <= budget].tolist()


def test_a_cosine_of_just_the_threshold_is_not_too_near():
    assert choose(view_of([[1, 0], [3, 4]], [2, 1]), None, threshold=0.6).indices.tolist() == [0, 1]
    assert choose(view_of([[1, 0], [3, 3.99]], [2, 1]), None, threshold=0.6).indices.tolist() == [0]


def test_more_than_pass_are_filled_up_by_score_and_said():
    view = view_of([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [1, 4, 3, 2])
    chosen = choose(view, 4)
    assert chosen.indices.tolist() == [1, 2, 3, 0]
    assert [("cosine above 0.9" in reason) for reason in chosen.reasons] == [
        False,
        False,
        True,
        True,
    ]
    [warning] = chosen.warnings
    assert warning == (
        "4 examples were asked for and only 2 are at a cosine of 0.9 or less from all better ones: "
        "the other 2 are nearer; ask for at most 2, or raise deita.threshold"
    )
    with pytest.raises(BudgetError, match="only 4 are eligible"):
        choose(view, 5)


def test_what_has_no_direction_or_score_is_left_out_and_counted():
    points = [[0, 0], [np.nan, 1], [1, 0], [0, 1], [1, 1]]
    chosen = choose(view_of(points, [9, 9, 1, np.nan, 2]), 2)
    assert chosen.indices.tolist() == [4, 2]
    assert chosen.excluded == {
        "embedding is not finite": 1, "embedding has length 0": 1,
        "complexity or quality is not finite": 1,
    }  # fmt: skip


def test_what_it_needs_and_what_it_refuses():
    needs = Deita("ifd.ratio_ppl", "reward.reward").requires()
    assert needs["embedding"] == Need("embedding")
    assert needs["complexity"] == Expression("ifd.ratio_ppl")
    assert Deita("a", "b", embedding="mine").requires()["mine"] == Need(None)
    with pytest.raises(ConfigError, match=r"deita.quality is empty; name a score"):
        Deita("a", " ")
    with pytest.raises(ConfigError, match=r"deita.threshold=1.5 is a cosine.*try 0.9"):
        Deita("a", "b", threshold=1.5)
    with pytest.raises(ConfigError, match=r"deita.quality='q' is -1 for some example.*exp\(q\)"):
        choose(view_of([[1, 0]], [1], [-1]), 1)


def test_the_scores_may_be_those_of_a_judge(roomy_model, tmp_path):
    rows = [{"prompt": f"write {n} lines", "response": "the sea " * n} for n in range(1, 9)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    for preset in ("complexity", "quality"):
        pool.score(
            "judge", alias=preset, model_for={"judge": str(roomy_model)},
            settings={"judge.preset": preset, "judge.min_mass": "0"},
        )  # fmt: skip
    settings = {"complexity": "complexity.score", "quality": "quality.score"}
    chosen = pool.select("deita", budget=3, model=str(roomy_model), settings=settings)
    scores = pool.sql(
        "select scores.id as id, complexity.score * quality.score as product, vector "
        "from scores join vectors using (id) order by id"
    )
    product = scores["product"].to_numpy()
    kept = slow(np.array(scores["vector"].to_list()), product, 0.9, None)
    near = [row for row in np.argsort(-product, kind="stable").tolist() if row not in kept]
    wanted = [scores["id"][row] for row in [*kept, *near][:3]]
    assert chosen.to_polars()["id"].to_list() == wanted
    assert len(set(product.round(6))) == 8
