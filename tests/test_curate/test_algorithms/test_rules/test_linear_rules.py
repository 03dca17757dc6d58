import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.rules.linear_rules import PUBLISHED, LinearRule, Term, read_rule
from curate.contracts import Need
from curate.errors import ConfigError

V3 = {
    "reward.reward": 1.0,
    "unieval.understandability": 0.9,
    "unieval.naturalness": 0.8,
    "unieval.coherence": 0.7,
}
V1 = {"reward.reward": 1.0, "length.response_tokens": 200.0, "knn.distance": 0.3}


def own(**changes):
    settings = {
        "name": "mine",
        "intercept": 0.5,
        "terms": (Term("mtld", "mtld.mtld", -0.01), Term("knn_1", "near.distance", 2.0)),
        "needs": {"mtld": Need("mtld"), "near": Need("knn", None, {"i": 1})},
        "statistics": {"loo_r2": 0.4},
        "provenance": {"pool": "a"},
    }
    return LinearRule(**settings | changes)


# 0.0274 - 0.0078 + 0.39789 - 0.25696 - 0.1064, and 1.0694 - 0.1498 + 0.016514 - 0.2805.
@pytest.mark.parametrize(("name", "row", "value"), [("v3", V3, 0.05413), ("v1", V1, 0.655614)])
def test_published_rules_on_vectors_worked_out_by_hand(name, row, value):
    columns = {column: np.array([number]) for column, number in row.items()}
    assert PUBLISHED[name].predict(columns)[0] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("name", "row"), [("v3", V3), ("v1", V1)])
@given(data=st.data())
def test_mean_of_rows_is_the_rule_of_means(name, row, data):
    n = data.draw(st.integers(1, 20))
    numbers = st.floats(-1e3, 1e3)
    columns = {
        column: np.array(data.draw(st.lists(numbers, min_size=n, max_size=n))) for column in row
    }
    means = {column: np.array([values.mean()]) for column, values in columns.items()}
    rule = PUBLISHED[name]
    of_means = rule.predict(means)[0]
    assert rule.predict(columns).mean() == pytest.approx(of_means, rel=1e-9, abs=1e-9)


def test_what_each_indicator_adds_is_the_prediction_without_the_intercept():
    columns = {column: np.array([number]) for column, number in V3.items()}
    rule = PUBLISHED["v3"]
    added = {name: float(values[0]) for name, values in rule.contributions(columns).items()}
    assert added == pytest.approx(
        {"reward": -0.0078, "understandability": 0.39789, "naturalness": -0.25696,
         "coherence": -0.1064}
    )  # fmt: skip
    assert sum(added.values()) + 0.0274 == pytest.approx(0.05413)


def test_published_rules_name_the_models_they_need():
    v3, v1 = PUBLISHED["v3"].needs, PUBLISHED["v1"].needs
    assert {alias: need.role for alias, need in v3.items()} == {
        "reward": "reward", "unieval": "judge"
    }  # fmt: skip
    assert {alias: need.role for alias, need in v1.items()} == {
        "reward": "reward", "length": "target", "knn": None
    }  # fmt: skip
    assert v1["knn"].config == {"i": 6, "metric": "cosine"}
    assert v3["reward"].config == {"format": "oasst"}
    for model in ("OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5", "MingZhong/unieval-dialog"):
        assert model in v3["reward"].hint and model in v3["unieval"].hint
    assert "--method instructmining-fit fits a rule" in v3["reward"].hint


def test_a_rule_survives_json_and_its_file(tmp_path):
    path = tmp_path / "rule.json"
    path.write_text(own().to_json(), encoding="utf-8")
    for again in (read_rule(own().to_json()), read_rule(str(path))):
        assert again.to_json() == own().to_json()
        assert again.terms == own().terms and dict(again.needs) == dict(own().needs)
        assert not again.is_published
    assert read_rule("v1") is PUBLISHED["v1"] and read_rule("v1").is_published


def test_a_fitted_rule_called_v3_is_not_the_published_one():
    assert not read_rule(own(name="v3").to_json()).is_published


def test_a_missing_indicator_makes_a_missing_prediction():
    columns = {column: np.array([number, number]) for column, number in V3.items()}
    columns["reward.reward"] = np.array([1.0, np.nan])
    assert np.isnan(PUBLISHED["v3"].predict(columns)).tolist() == [False, True]


def test_an_unknown_rule_names_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"no rule 'v9'; choose v1, v3, or give the file of a rule"
    ):
        read_rule("v9")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"format": "other"},
            "has format 'other', version 1; this version of curate reads 'curate-linear-r",
        ),
        ({"version": 2}, "has format 'curate-linear-rule', version 2; .*up to version 1"),
        (
            {"intercept": "x"},
            r"cannot be read as a linear rule \(ValueError.*the JSON that a fit wrote",
        ),
        ({"terms": [{"indicator": "a"}]}, r"cannot be read as a linear rule \(KeyError"),
        ({"terms": []}, "rule 'mine' has no terms; it needs at least one indicator"),
        ({"needs": {}}, "reads 'mtld.mtld' but does not say which score that is; it knows: none"),
    ],
)
def test_a_broken_rule_is_refused(change, words):
    document = json.loads(own().to_json()) | change
    with pytest.raises(ConfigError, match=words):
        read_rule(json.dumps(document))


def test_a_cut_off_rule_is_refused(tmp_path):
    path = tmp_path / "rule.json"
    path.write_text(own().to_json()[:50], encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"rule file '.*rule.json' cannot be read as a linear rule"
    ):
        read_rule(str(path))


def test_a_coefficient_must_be_finite():
    with pytest.raises(ConfigError, match="has the coefficient nan for 'mtld'; it must be finite"):
        own(terms=(Term("mtld", "mtld.mtld", float("nan")),))
