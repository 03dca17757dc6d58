import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, View, fit_size, keep_within
from curate.errors import BudgetError, ConfigError, CurateError


def view_of(tokens: list[int] | None = None, n: int | None = None, **more) -> View:
    n = len(tokens) if tokens is not None else (5 if n is None else n)
    ids = np.array([f"{row:032x}" for row in range(n)], dtype="S32")
    counts = None if tokens is None else np.array(tokens, dtype=np.int64)
    return View(ids, tokens=counts, **more)


# Budget ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("10%", 0.1, "share"),
        ("100%", 1.0, "share"),
        ("0.5%", 0.005, "share"),
        ("5000", 5000, "examples"),
        ("5k", 5000, "examples"),
        ("1.5k", 1500, "examples"),
        ("2Mtok", 2_000_000, "tokens"),
        ("2mtok", 2_000_000, "tokens"),
        ("300tok", 300, "tokens"),
        ("10%tok", 0.1, "token-share"),
        (" 10 % tok", 0.1, "token-share"),
        (7, 7, "examples"),
    ],
)
def test_budget_reads_four_units(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@given(st.sampled_from(["share", "token-share", "examples", "tokens"]), st.integers(1, 1000))
def test_budget_text_reads_back(unit, number):
    budget = Budget(number / 1000 if "share" in unit else number, unit)
    assert Budget.parse(str(budget)) == budget
    assert pickle.loads(pickle.dumps(budget)) == budget


@pytest.mark.parametrize("text", ["0", "0%", "-5", "-1%", "0tok"])
def test_budget_must_be_positive(text):
    with pytest.raises(BudgetError, match="budget must be positive"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["101%", "101%tok", "1000%"])
def test_budget_is_at_most_the_whole_pool(text):
    with pytest.raises(BudgetError, match="more than the whole pool; use at most 100%"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["ten", "", "10 percent", "5Mb", "%", "tok", "1e3", "10%%"])
def test_unreadable_budget_says_what_to_write(text):
    with pytest.raises(BudgetError, match=r"cannot read budget .*; write 10% .* 2Mtok"):
        Budget.parse(text)


def test_fractions_of_an_example_are_refused():
    with pytest.raises(BudgetError, match="whole number, got 2.5"):
        Budget.parse("2.5")


def test_budget_errors_are_usage_errors():
    assert issubclass(BudgetError, ConfigError) and issubclass(BudgetError, CurateError)
    assert BudgetError("x").exit_code == 2


def test_shares_are_of_the_whole_pool_rounded_down_and_at_least_one():
    view = view_of(n=5, excluded={"non_finite": 95})
    assert view.n_pool == 100
    assert Budget.parse("10%").limit(view) == 10
    assert Budget.parse("10.9%").limit(view) == 10
    assert Budget.parse("0.1%").limit(view) == 1
    assert Budget(0.07, "share").limit(view) == 7  # 0.07 * 100 is 7.000000000000001


@pytest.mark.parametrize("whole", [10**8, 10**10, 50_492_095_600, 10**13])
def test_a_share_of_any_whole_is_exact(whole):
    for percent in range(1, 101):  # 0.29 * 10**8 is 28999999.999999996
        assert Budget.parse(f"{percent}%").share_of(whole) == percent * whole // 100
    assert Budget.parse("33.3%").share_of(whole) == 333 * whole // 1000
    assert Budget(2 / 7, "share").share_of(7 * whole) == 2 * whole


@given(st.integers(1, 10**6), st.integers(0, 4), st.integers(1, 4_000_000))
def test_shares_of_small_pools_are_what_they_were(number, decimals, whole):
    share = Budget.parse(f"{number / 10**6 * 100:.{decimals}f}%" if number > 10**4 else "1%")
    assert share.share_of(whole) == max(1, int(share.amount * whole + 1e-9))


def test_token_shares_are_of_the_pools_tokens():
    view = view_of([10, 20, 30], pool_tokens=600)
    assert Budget.parse("10%tok").limit(view) == 60


def test_token_budget_without_token_counts_says_what_to_pass():
    with pytest.raises(BudgetError, match="no token counts; pass --model"):
        Budget.parse("100tok").limit(view_of(n=3))


# The prefix rule ---------------------------------------------------------------------------------


def test_picks_are_kept_until_the_next_does_not_fit():
    view = view_of([10, 50, 5, 5])
    ranking = np.array([0, 1, 2, 3])
    assert keep_within(ranking, Budget(64, "tokens"), view).tolist() == [0, 1]
    assert keep_within(ranking, Budget(59, "tokens"), view).tolist() == [0]
    assert keep_within(ranking, Budget(70, "tokens"), view).tolist() == [0, 1, 2, 3]


def test_no_budget_keeps_the_whole_ranking():
    assert keep_within(np.array([2, 0]), None, view_of(n=3)).tolist() == [2, 0]


def test_budget_over_eligible_names_counts_and_reasons():
    view = view_of(n=3, excluded={"non_finite": 2, "where": 5})
    with pytest.raises(BudgetError) as caught:
        keep_within(np.arange(3), Budget(4), view)
    assert str(caught.value) == (
        "budget 4 asks for 4 examples, but only 3 are eligible (10 in the pool; excluded: "
        "2 non_finite, 5 where); give at most --budget 3"
    )


def test_token_budget_over_eligible_is_an_error():
    with pytest.raises(BudgetError, match="only 60 are eligible; give at most --budget 60tok"):
        keep_within(np.arange(2), Budget(61, "tokens"), view_of([30, 30]))


def test_budget_below_the_first_pick_says_how_much_it_needs():
    with pytest.raises(BudgetError, match="fewer than the first pick's 30; give at least 30tok"):
        keep_within(np.arange(2), Budget(29, "tokens"), view_of([30, 1]))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_larger_token_budget_contains_smaller(tokens, data):
    view, ranking = view_of(tokens), np.arange(len(tokens))[::-1].copy()
    limits = st.integers(tokens[-1], sum(tokens))
    small, large = sorted([data.draw(limits), data.draw(limits)])
    kept = keep_within(ranking, Budget(small, "tokens"), view)
    more = keep_within(ranking, Budget(large, "tokens"), view)
    assert more[: len(kept)].tolist() == kept.tolist()
    assert sum(tokens[row] for row in kept) <= small
    if len(kept) < len(tokens):
        assert sum(tokens[row] for row in ranking[: len(kept) + 1]) > small


# Selectors whose picks depend on the size --------------------------------------------------------


def test_example_budget_asks_once():
    asked = []

    def pick(n):
        asked.append(n)
        return np.arange(n)

    assert fit_size(pick, Budget(3), view_of(n=5)).tolist() == [0, 1, 2]
    assert asked == [3]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.data())
def test_token_budget_finds_the_largest_count_that_fits(tokens, data):
    view = view_of(tokens)
    order = np.argsort(tokens, kind="stable")
    limit = data.draw(st.integers(min(tokens), sum(tokens)))
    chosen = fit_size(lambda n: order[:n], Budget(limit, "tokens"), view)
    fitting = [n for n in range(len(tokens) + 1) if sum(sorted(tokens)[:n]) <= limit]
    assert len(chosen) == max(fitting)


def test_size_dependent_budget_over_eligible_is_an_error():
    with pytest.raises(BudgetError, match="only 5 are eligible"):
        fit_size(np.arange, Budget(6), view_of(n=5))
    with pytest.raises(BudgetError, match="only 30 are eligible"):
        fit_size(np.arange, Budget(31, "tokens"), view_of([10, 20]))
    with pytest.raises(BudgetError, match="fewer than any single pick needs"):
        fit_size(np.arange, Budget(9, "tokens"), view_of([10, 20]))
