"""Quotas and mixes: shares are of the selection, exact where they say so, and over any column."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts import View
from curate.contracts.budget import Budget
from curate.contracts.progress import SilentProgress
from curate.errors import BudgetError, ConfigError, ExpressionError
from curate.registry import build, get_selector
from curate.select.choose import choose
from curate.select.record import quota_of
from curate.select.shares import Shares, largest_remainder

NAMES = ("c", "d", "g")


def view_of(sizes: dict[str, int], tokens: int | None = None, **columns: list[Any]) -> View:
    n = sum(sizes.values())
    sources = np.repeat([NAMES.index(name) for name in sizes], list(sizes.values()))
    return View(
        np.array([f"{i:04d}".encode() for i in range(n)], dtype="S32"),
        {
            "rank": np.arange(n, 0, -1.0),
            **{name: np.array(values, dtype=object) for name, values in columns.items()},
        },
        sources=sources,
        source_names=NAMES,
        tokens=None if tokens is None else np.full(n, tokens),
    )


def picked(view: View, budget: str | None, shares: Shares, **options: Any) -> list[int]:
    method = build(get_selector("top-k"), {"rank": "quality.score"})
    given = None if budget is None else Budget.parse(budget)
    return choose(method, view, given, 0, shares=shares, **options).indices.tolist()


def counts(view: View, rows: list[int]) -> dict[str, int]:
    assert view.sources is not None
    return dict(Counter(NAMES[view.sources[row]] for row in rows))


MIX = {"g": "50%", "d": "30%", "c": "20%"}
POOL = {"g": 60, "d": 40, "c": 30}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("100", {"g": 50, "d": 30, "c": 20}),
        ("101", {"g": 51, "d": 30, "c": 20}),
        ("7", {"g": 4, "d": 2, "c": 1}),
        ("50%", {"g": 33, "d": 19, "c": 13}),
        ("50%eligible", {"g": 33, "d": 19, "c": 13}),
        ("1000tok", {"g": 50, "d": 30, "c": 20}),
        ("50%tok", {"g": 32, "d": 19, "c": 13}),
    ],
)
def test_a_mix_is_exact_in_counts_shares_and_tokens(budget: str, expected: dict[str, int]) -> None:
    view = view_of(POOL, tokens=10)
    rows = picked(view, budget, Shares({}, MIX))
    assert counts(view, rows) == expected
    assert rows == sorted(rows), "in the order of the method, the best of each"


def test_largest_remainders_sum_to_the_total_and_ties_go_to_the_first() -> None:
    assert largest_remainder([0.25, 0.25, 0.25, 0.25], 2) == [1, 1, 0, 0]
    assert largest_remainder([0.1] * 10, 7) == [1] * 7 + [0] * 3
    for total in range(1, 200):
        assert sum(largest_remainder([0.47, 0.31, 0.13, 0.09], total)) == total


def test_shares_of_large_selections_are_exact() -> None:
    whole = 10**8
    assert largest_remainder([0.29, 0.57, 0.14], whole) == [29 * 10**6, 57 * 10**6, 14 * 10**6]
    assert largest_remainder([0.3, 0.7], 10**12 + 5) == [3 * 10**11 + 2, 7 * 10**11 + 3]
    view = replace(view_of({"g": 1, "d": 1}), tokens=np.array([29 * 10**6, 71 * 10**6]))
    for shares in (Shares({"g": "29%", "d": "71%"}, {}), Shares({}, {"g": "29%", "d": "71%"})):
        assert picked(view, "100Mtok", shares) == [0, 1]
    thirds = Shares({"g": "33.3333333333333%", "d": "66.6666666666667%"}, {})
    view = replace(view, tokens=np.array([10**12, 2 * 10**12]))
    assert picked(view, "3000000Mtok", thirds) == [0, 1]


def test_a_source_with_too_few_names_the_largest_budget_that_works() -> None:
    view = view_of(POOL, tokens=10)
    with pytest.raises(BudgetError) as caught:
        picked(view, "200", Shares({}, MIX))
    assert str(caught.value) == (
        "--mix: the budget of 200 examples is too large for it: g needs 100 examples and has 60; d needs "
        "60 examples and has 40; c needs 40 examples and has 30; the largest that works is --budget 120"
    )
    assert counts(view, picked(view, "120", Shares({}, MIX))) == {"g": 60, "d": 36, "c": 24}
    with pytest.raises(BudgetError, match="the largest that works is --budget 120"):
        picked(view, "121", Shares({}, MIX))
    with pytest.raises(BudgetError, match=r"100%tok \(1,300 tokens\).*--budget 1200tok$"):
        picked(view, "100%tok", Shares({}, MIX))


def test_rounding_that_allows_one_more_is_used() -> None:
    view = view_of({"g": 2, "d": 1})
    with pytest.raises(BudgetError, match="the largest that works is --budget 3$"):
        picked(view, "4", Shares({}, {"g": "50%", "d": "50%"}))
    assert len(picked(view, "3", Shares({}, {"g": "50%", "d": "50%"}))) == 3


@pytest.mark.parametrize(
    ("quota", "mix", "message"),
    [
        ({}, {"g": "50%", "d": "30%"}, r"of --mix g=50%,d=30% add up to 80%; .* add up to 100%"),
        ({}, {"g": "0.5", "d": "half"}, r"cannot read the share 'half' of 'd'; write --mix d=50%"),
        (
            {},
            {"g": "50%", "row.kind:x": "50%"},
            r"shares of source and of row.kind; give all of one",
        ),
        ({"g": "2"}, {"g": "100%"}, r"--quota .* and --mix .* are both given"),
        ({"g": "10tok"}, {}, r"quota g='10tok' is neither a number .* nor a share"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    quota: dict[str, str], mix: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Shares(quota, mix)


def test_a_mix_needs_a_budget_and_room_for_what_is_included() -> None:
    view = view_of(POOL)
    with pytest.raises(ConfigError, match="--mix gives shares of a budget; add --budget"):
        Shares({}, MIX).check_budget(None)
    with pytest.raises(
        ConfigError, match="--include asks for 3 examples, and --mix has no room for 2"
    ):
        picked(view, "5", Shares({}, MIX), include=["0100", "0101", "0102"])


def test_a_star_shares_what_the_named_ones_leave() -> None:
    view = view_of(POOL)
    rows = picked(view, "20", Shares({}, {"g": "50%", "*": "50%"}))
    assert counts(view, rows) == {"g": 10, "d": 10}


def test_a_quota_share_is_of_the_selection_in_what_the_budget_counts() -> None:
    view = view_of(POOL, tokens=10)
    assert counts(view, picked(view, "50", Shares({"g": "30%"}, {}))) == {"g": 15, "d": 35}
    assert counts(view, picked(view, "500tok", Shares({"g": "30%"}, {}))) == {"g": 15, "d": 35}


def test_a_quota_that_leaves_too_few_names_the_largest_budget() -> None:
    view = view_of({"g": 60, "d": 14})
    with pytest.raises(BudgetError) as caught:
        picked(view, "50", Shares({"g": "30%"}, {}))
    assert str(caught.value) == (
        "--quota: the budget of 50 examples leaves too few for it; the largest that works is --budget 20"
    )
    assert counts(view, picked(view, "20", Shares({"g": "30%"}, {}))) == {"g": 6, "d": 14}
    with pytest.raises(BudgetError, match="the largest that works is --budget 1$"):
        picked(view_of({"g": 9, "d": 1}), "5", Shares({"g": "5%"}, {}))


def test_quotas_that_no_selection_can_fill_are_refused_at_once() -> None:
    with pytest.raises(
        BudgetError, match="every source here has a share in --quota, and they add up to 99.9%"
    ):
        picked(view_of({"g": 90_000, "d": 90_000}), "5", Shares({"g": "50%", "d": "49.9%"}, {}))


@pytest.mark.parametrize("budget", ["1000tok", "1001tok", "40tok"])
def test_quotas_of_all_tokens_are_full_where_the_next_example_does_not_fit(budget: str) -> None:
    tokens = np.random.default_rng(0).integers(5, 18, 120)
    view = replace(view_of({"g": 60, "d": 60}), tokens=tokens)
    half = Budget.parse(budget).amount / 2
    rows = picked(view, budget, Shares({"g": "50%", "d": "50%"}, {}))
    assert rows == sorted(rows)
    for first in (0, 60):
        n = sum(first <= row < first + 60 for row in rows)
        assert set(range(first, first + n)) <= set(rows), "the best of each"
        assert tokens[first : first + n].sum() <= half < tokens[first : first + n + 1].sum()
    with pytest.raises(BudgetError, match=r"asks for \d+ tokens, but only \d+ are eligible"):
        picked(view, f"{tokens.sum() + 1}tok", Shares({"g": "50%", "d": "50%"}, {}))


def test_quotas_of_several_columns_hold_together() -> None:
    kinds = ["x", "y"] * 65
    view = view_of(POOL, **{"row.kind": kinds})
    rows = picked(view, "20", Shares({"g": "50%", "row.kind:x": "5"}, {}))
    assert len(rows) == 20
    assert counts(view, rows)["g"] == 10
    assert Counter(kinds[row] for row in rows)["x"] == 5


def _own_pool(folder: Path) -> Pool:
    rows = [
        {"id": f"e{i}", "prompt": f"question {i}", "response": "x" * (50 - i),
         **({"category": ("math", "code", "chat")[i % 3]} if i < 27 else {}), "year": 2000 + i % 2}
        for i in range(30)
    ]  # fmt: skip
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool(folder / "s.duckdb", create=True)
    pool.ingest(str(path))
    return pool


def test_quotas_and_mixes_of_the_users_own_columns(tmp_path: Path) -> None:
    pool = _own_pool(tmp_path)
    output = tmp_path / "mixed.jsonl"
    mixed = pool.select(
        rank="n_chars", budget=10, mix={"row.category:math": "70%", "row.category:code": "30%"},
        output=output,
    )  # fmt: skip
    kept = [json.loads(line)["category"] for line in output.read_text().splitlines()]
    assert Counter(kept) == {"math": 7, "code": 3}
    assert mixed.document["mix"] == {"row.category:math": "70%", "row.category:code": "30%"}
    again = reproduce(
        Path(mixed.document["manifest"]), store=None, output=None, rescore=False, workers=None,
        progress=SilentProgress(),
    )  # fmt: skip
    assert again["identical"], again["differences"]
    capped = pool.select(rank="n_chars", budget=20, quota={"row.category:math": "10%"})
    assert capped.document["quota_of"] == "selection"
    assert capped.document["n_excluded"] == {}, "a row without a category is still eligible"
    by_year = pool.select(rank="n_chars", budget=10, mix={"row.year:2001": "100%"})
    assert by_year.document["n_selected"] == 10
    [absent] = pool.explain("e21", selections=[mixed.id])["absent"]
    assert (absent["cause"], absent["text"]) == (
        "mix", "the --mix of row.category = 'math' was filled by examples that rank higher",
    )  # fmt: skip


def test_unknown_values_and_columns_have_the_nearest_spelling(tmp_path: Path) -> None:
    pool = _own_pool(tmp_path)
    with pytest.raises(
        ConfigError, match=r"names 'maths', .* as row.category; did you mean 'math'"
    ):
        pool.select("random", budget=5, quota={"row.category:maths": "1"})
    with pytest.raises(ExpressionError, match=r"'row.categry'.*did you mean 'row.category'"):
        pool.select("random", budget=5, quota={"row.categry:math": "1"})
    with pytest.raises(ConfigError, match=r"unknown source 'owm'; did you mean 'own'"):
        pool.select("random", budget=5, quota={"owm": "1"})


def test_a_mix_alone_draws_at_random(tmp_path: Path) -> None:
    chosen = _own_pool(tmp_path).select(mix="row.year:2000=0.5,row.year:2001=0.5", budget="20%")
    assert (chosen.document["method"], chosen.document["n_selected"]) == ("random", 6)


def test_quotas_of_older_records_are_of_the_pool() -> None:
    old = {"quota": {"a": "10%", "b": "5"}, "n_pool": 70}
    assert quota_of(old) == {"a": "7", "b": "5"}
    assert quota_of({**old, "quota_of": "selection"}) == {"a": "10%", "b": "5"}
