import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_reward import save_tiny_reward
from tiny_t5 import save_tiny_t5

from curate.algorithms.rules.linear_rules import LinearRule, Term
from curate.contracts import Budget, Need, View
from curate.errors import BudgetError, ConfigError, MissingColumnError, ModelError
from curate.registry import build, describe, get_scorer, get_selector
from curate.testing import check_selector

InstructMining = get_selector("instructmining")
READ = {
    "reward": "reward.reward", "understandability": "unieval.understandability",
    "naturalness": "unieval.naturalness", "coherence": "unieval.coherence",
    "tokens": "length.response_tokens", "knn": "knn.distance",
}  # fmt: skip
OWN = LinearRule(
    "mine", 1.0, (Term("mtld", "mtld.mtld", -0.5),), {"mtld": Need("mtld", None, {})}
).to_json()


def pool(**columns):
    """A pool of rows by the short names of their indicators; what is not given is the same for all."""
    n = len(next(iter(columns.values())))
    values = {name: columns.get(name, [0.5] * n) for name in READ}
    ids = np.array([f"{row:032x}" for row in range(n)], dtype="S32")
    extra = {name: np.array(one) for name, one in columns.items() if "." in name}
    return View(ids, {READ[name]: np.array(one) for name, one in values.items()} | extra)


def select(view, k, rule="v3"):
    return InstructMining(rule).select(view, Budget(k), np.random.default_rng(0))


def test_the_lowest_predicted_loss_comes_first():
    chosen = select(pool(naturalness=[0.1, 0.9, 0.5]), 3)
    assert chosen.indices.tolist() == [1, 2, 0]
    assert np.diff(chosen.gains).max() < 0


def test_v3_on_the_vector_worked_out_by_hand():
    view = pool(reward=[1.0], understandability=[0.9], naturalness=[0.8], coherence=[0.7])
    chosen = select(view, 1)
    assert chosen.gains[0] == pytest.approx(-0.05413, abs=1e-12)
    [reason] = chosen.reasons
    assert reason == (
        "predicted log loss 0.0541 (reward -0.0078, understandability +0.3979, "
        "naturalness -0.2570, coherence -0.1064)"
    )


def test_v1_on_the_vector_worked_out_by_hand():
    chosen = select(pool(reward=[1.0], tokens=[200], knn=[0.3]), 1, "v1")
    assert chosen.gains[0] == pytest.approx(-0.655614, abs=1e-12)


def test_the_rules_order_a_pool_differently():
    """One point of naturalness is worth 41 of reward under v3 and nothing under v1."""
    view = pool(reward=[40.0, 0.0], naturalness=[0.0, 1.0])
    assert select(view, 1).indices.tolist() == [1]
    assert select(view, 1, "v1").indices.tolist() == [0]


def test_ties_go_to_the_smaller_id():
    assert select(pool(reward=[1.0] * 4), 3).indices.tolist() == [0, 1, 2]


ROWS = st.tuples(st.sampled_from([-3.0, 0.0, 2.0, float("nan")]), st.floats(0, 1))


@given(st.lists(ROWS, min_size=1, max_size=15))
def test_agrees_with_sorting_by_the_formula(rows):
    view = pool(reward=[r for r, _ in rows], coherence=[c for _, c in rows])
    loss = [0.0274 - 0.0078 * r + (0.4421 - 0.3212) * 0.5 - 0.1520 * c for r, c in rows]
    ranked = sorted((n for n in range(len(rows)) if loss[n] == loss[n]), key=lambda n: loss[n])
    if not ranked:
        return
    chosen = select(view, len(ranked))
    assert -chosen.gains == pytest.approx(sorted(loss[n] for n in ranked), abs=1e-12)
    assert sorted(chosen.indices.tolist()) == sorted(ranked)


def test_a_missing_indicator_is_excluded_and_counted():
    view = pool(reward=[1.0, np.nan, 2.0, np.inf])
    chosen = select(view, 2)
    assert chosen.indices.tolist() == [2, 0] and chosen.excluded == {"an indicator is missing": 2}
    with pytest.raises(BudgetError, match="only 2 are eligible .*excluded: 2 an indicator is miss"):
        select(view, 3)


def test_published_rules_say_that_they_are_not_portable():
    [warning] = select(pool(reward=[1.0]), 1).warnings
    assert warning.startswith("the coefficients of rule v3 hold for OpenAssistant/oasst-rm-2.1")
    assert "MingZhong/unieval-dialog only" in warning
    assert warning.endswith("fit a rule of your own: --method instructmining-fit")
    [warning] = select(pool(reward=[1.0]), 1, "v1").warnings
    assert "unieval" not in warning
    view = View(np.array([b"a"]), {"mtld.mtld": np.array([70.0])})
    assert select(view, 1, OWN).warnings == ()
    assert "random ahead of it" in describe(InstructMining).experimental


def test_picks_scored_on_a_cut_text_are_reported():
    view = pool(reward=[3.0, 2.0, 1.0], **{"unieval.truncated": [True, False, True]})
    assert "1 of 2 picks were scored on a cut text by unieval" in select(view, 2).warnings


def test_a_fitted_rule_is_kept_in_the_configuration(tmp_path):
    path = tmp_path / "rule.json"
    path.write_text(OWN, encoding="utf-8")
    chosen = build(InstructMining, {"rule": str(path)})
    assert chosen == InstructMining(OWN) and chosen.rule == OWN
    assert chosen.requires() == {"mtld": Need("mtld", None, {})}
    path.unlink()
    view = View(np.array([b"a", b"b"]), {"mtld.mtld": np.array([3.0, 4.0])})
    picks = build(InstructMining, {"rule": chosen.rule}).select(
        view, Budget(2), np.random.default_rng(0)
    )
    assert picks.indices.tolist() == [1, 0] and picks.gains.tolist() == [1.0, 0.5]
    assert picks.reasons[0] == "predicted log loss -1.0000 (mtld -2.0000)"


def test_an_unknown_rule_is_refused_before_anything_is_scored():
    with pytest.raises(ConfigError, match="no rule 'v2'; choose v1, v3, or give the file"):
        InstructMining("v2")


def test_needs_are_those_of_the_rule():
    assert set(InstructMining().requires()) == {"reward", "unieval"}
    assert set(InstructMining("v1").requires()) == {"reward", "length", "knn"}
    for rule in ("v1", "v3"):
        for alias, need in InstructMining(rule).requires().items():
            outputs = {f"{alias}.{name}" for name in get_scorer(need.scorer).outputs}
            columns = set(READ.values())
            assert {c for c in columns if c.startswith(f"{alias}.")} <= outputs


@pytest.mark.parametrize("rule", ["v1", OWN], ids=["v1", "fitted"])
def test_other_rules_keep_the_contract(rule):
    check_selector(InstructMining(rule))


# Weights that are not there ----------------------------------------------------------------------


@pytest.fixture
def small_pool(tmp_path):
    """A store with two examples and no scores."""
    import curate

    rows = [{"prompt": f"Add {n} and 1.", "response": str(n + 1)} for n in range(2)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pool = curate.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(data))
    return pool


def test_without_its_models_it_says_what_to_pass_and_offers_a_fit(small_pool):
    with pytest.raises(MissingColumnError) as caught:
        small_pool.select("instructmining", budget=1)
    for words in (
        "score 'reward' (scorer reward) is not in the store; pass --model-for reward=MODEL",
        "--model-for reward=OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5",
        "--model-for judge=MingZhong/unieval-dialog",
        "--method instructmining-fit fits a rule of your own on indicators that need no such model",
        "nothing is substituted",
    ):
        assert words in str(caught.value)


def test_weights_that_cannot_be_found_offer_a_fit_as_well(small_pool):
    models = {"reward": "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5"}
    with pytest.raises(ModelError, match="is not in the local cache.*--method instructmining-fit"):
        small_pool.select("instructmining", budget=1, model_for=models)


@pytest.mark.slow
def test_indicators_are_scored_and_the_predicted_loss_is_a_column(small_pool, tmp_path):
    """From the weights of two small models to a selection, and the same number from SQL."""
    models = {}
    for role, save in (("reward", save_tiny_reward), ("judge", save_tiny_t5)):
        (tmp_path / role).mkdir()
        models[role] = str(save(tmp_path / role))
    chosen = small_pool.select("instructmining", budget=2, model_for=models, device="cpu")
    assert any("hold for OpenAssistant" in w for w in chosen.document["warnings"])
    small_pool.score("instructmining", model_for=models, device="cpu")
    rows = small_pool.sql(
        "select reward.reward r, unieval.naturalness n, unieval.understandability u, "
        "unieval.coherence c, instructmining.predicted_loss as loss from scores"
    ).to_dicts()
    assert len(rows) == 2
    for row in rows:
        wanted = 0.0274 - 0.0078 * row["r"] + 0.4421 * row["u"] - 0.3212 * row["n"]
        assert row["loss"] == pytest.approx(wanted - 0.1520 * row["c"], abs=1e-12)
