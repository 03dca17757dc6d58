import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.contracts import Budget, Expression, Need, View
from curate.contracts.budget import read_share, value_text
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

Mixture = get_selector("mixture")


def view_of(values, rank=None, tokens=None):
    columns = {"by": np.array(values, dtype=object)}
    if rank is not None:
        columns["rank"] = np.array(rank, dtype=float)
    if tokens is not None:
        columns["length.prompt_tokens"] = np.zeros(len(tokens), dtype=int)
        columns["length.response_tokens"] = np.array(tokens)
    ids = np.array([f"{row:04d}".encode() for row in range(len(values))])
    return View(ids, columns, tokens=None if tokens is None else np.array(tokens))


def choose(view, budget, seed=0, **settings):
    return Mixture(**settings).select(view, Budget.parse(budget), np.random.default_rng(seed))


def counts(view, chosen):
    values = [view.columns["by"][row] for row in chosen.indices.tolist()]
    return {value: values.count(value) for value in sorted(set(values))}


@given(st.integers(1, 60), st.lists(st.integers(1, 5), min_size=2, max_size=4))
@settings(deadline=None, max_examples=40)
def test_every_size_has_the_shares_to_within_one_example(n, parts):
    names = "abcd"[: len(parts)]
    view = view_of([name for name in names for _ in range(60)])
    shares = tuple(f"{name}={part / sum(parts)}" for name, part in zip(names, parts, strict=True))
    found = counts(view, choose(view, n, shares=shares))
    assert sum(found.values()) == n
    for name, part in zip(names, parts, strict=True):
        assert abs(found.get(name, 0) - n * part / sum(parts)) < 1 + len(parts) / 2


def test_without_shares_it_is_stratified():
    view = view_of(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    assert counts(view, choose(view, 20)) == {"a": 12, "b": 6, "c": 2}


def test_what_is_left_goes_to_the_values_not_named():
    view = view_of(["a"] * 40 + ["b"] * 20 + ["c"] * 40)
    assert counts(view, choose(view, 20, shares=("a=40%",))) == {"a": 8, "b": 4, "c": 8}
    chosen = choose(view, 20, shares=("a=50%", "b=0.5"))
    assert counts(view, chosen) == {"a": 10, "b": 10}
    assert chosen.excluded == {"no share for it": 40}


def test_a_value_that_runs_out_leaves_its_share_and_is_named():
    view = view_of(["a"] * 4 + ["b"] * 40 + ["c"] * 40)
    chosen = choose(view, 24, shares=("a=50%", "b=25%", "c=25%"))
    assert counts(view, chosen) == {"a": 4, "b": 10, "c": 10}
    assert chosen.warnings == (
        "a has 4 of the 12 examples of its share: the rest comes from the others",
    )
    with pytest.raises(BudgetError, match="only 84 are eligible"):
        choose(view, 85, shares=("a=50%", "b=25%", "c=25%"))


def test_values_of_any_type_have_a_name():
    view = view_of([True] * 10 + [False] * 10)
    assert counts(view, choose(view, 4, shares=("true=25%", "false=75%"))) == {False: 3, True: 1}
    view = view_of([3] * 10 + [7] * 10)
    assert counts(view, choose(view, 4, shares=("7=100%",))) == {7: 4}


def test_shares_of_tokens():
    view = view_of(["long"] * 50 + ["short"] * 500, tokens=[100] * 50 + [10] * 500)
    shares = ("long=50%", "short=50%")
    chosen = choose(view, "2000tok", shares=shares, unit="tokens")
    assert counts(view, chosen) == {"long": 10, "short": 100}
    assert counts(view, choose(view, 110, shares=shares, unit="tokens")) == {
        "long": 10, "short": 100,
    }  # fmt: skip
    assert Mixture(unit="tokens").requires()["length"] == Need("length", "target")


def test_rank_takes_the_best_of_each_value_and_the_seed_draws_otherwise():
    view = view_of(["a", "a", "a", "b", "b", None], rank=[1, 3, np.nan, 5, 7, 9])
    chosen = choose(view, 2, shares=("a=50%", "b=50%"), rank="reward.reward")
    assert sorted(chosen.indices.tolist()) == [1, 4]
    assert chosen.excluded == {"source has no value": 1, "rank is null or not finite": 1}
    assert Mixture(rank="n_chars", by="language.code").requires() == {
        "by": Expression("language.code"), "rank": Expression("n_chars"),
    }  # fmt: skip
    view = view_of(["a"] * 50)
    picks = [choose(view, 5, seed).indices.tolist() for seed in (0, 0, 1)]
    assert picks[0] == picks[1] != picks[2]


@pytest.mark.parametrize(
    "shares", [("a",), ("a=x",), ("=0.5",), ("a=0",), ("a=1.5",), ("a=.1", "a=.2")]
)
def test_shares_that_cannot_be_read_are_refused(shares):
    with pytest.raises(ConfigError, match=r"cannot read 'a?=?.*' in mixture.shares"):
        Mixture(shares)


def test_shares_over_all_and_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="add up to 120%; give at most 100%"):
        Mixture(("a=60%", "b=60%"))
    with pytest.raises(
        ConfigError, match="names 'c', and no example has it as source; there are: a, b"
    ):
        choose(view_of(["a", "b"]), 1, shares=("c=50%",))
    with pytest.raises(BudgetError, match="mixture needs a budget"):
        Mixture().select(view_of(["a"]), None, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"mixture.by is empty"):
        Mixture(by=" ")


def test_whole_numbers_are_named_as_mix_names_them():
    assert [value_text(value) for value in (2.0, 2, 0.5, True, None, float("nan"))] == [
        "2", "2", "0.5", "true", "", "",
    ]  # fmt: skip
    assert [read_share(text) for text in ("50%", " 0.5", "1", "0", "101%", "x")] == [
        0.5, 0.5, 1.0, None, None, None,
    ]  # fmt: skip
    chosen = choose(view_of([1.0] * 6 + [2.0] * 6), "4", shares=("1=50%", "2=50%"))
    assert sorted(chosen.reasons) == ["source = 1"] * 2 + ["source = 2"] * 2
