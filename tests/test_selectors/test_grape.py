import math
import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, Need, View
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_scorer, get_selector

GRAPE = get_selector("grape")


def pool(
    mean_logp: list[float],
    groups: list[int],
    truncated: list[bool] | None = None,
    n_tokens: list[int] | None = None,
    **more,
) -> View:
    n = len(mean_logp)
    lengths = np.array(n_tokens or [10] * n, dtype=np.int64)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {
            "likelihood.mean_logp": np.array(mean_logp, dtype=float),
            "likelihood.sum_logp": np.array(mean_logp, dtype=float) * lengths,
            "likelihood.n_tokens": lengths,
            "likelihood.truncated": np.array(truncated or [False] * n),
        },
        groups=np.array(groups, dtype=np.int64),
        **more,
    )


def select(view: View, budget: str | None = None, seed: int = 0, **settings):
    spent = None if budget is None else Budget.parse(budget)
    return build(GRAPE, settings).select(view, spent, np.random.default_rng(seed))


# Three instructions with three, two and two responses.
THREE = ([-2.0, -1.0, -3.0, -0.5, -0.7, -9.0, -8.0], [0, 0, 0, 1, 1, 2, 2])


# The choice --------------------------------------------------------------------------------------


def test_best_response_of_every_instruction_by_default():
    chosen = select(pool(*THREE))
    assert sorted(chosen.indices.tolist()) == [1, 3, 6]
    assert chosen.gains.tolist() == [THREE[0][row] for row in chosen.indices]


def test_poor_instructions_are_never_dropped_for_their_score():
    """Every response to the last instruction is far less likely than any other response."""
    assert 6 in select(pool(*THREE)).indices


def test_k_per_instruction_takes_all_of_a_smaller_group():
    assert sorted(select(pool(*THREE), k=2).indices.tolist()) == [0, 1, 3, 4, 5, 6]
    assert len(select(pool(*THREE), k=3)) == len(select(pool(*THREE), k=99)) == 7


def test_lowest_perplexity_on_paper():
    """Two tokens in the vocabulary: three of probability 1/2, against 3/4, 1/4 and 1/2.

    Perplexities are 2 and (3/4 * 1/4 * 1/2) ** (-1/3) = 2.2: the even one is chosen.
    """
    even = math.log(1 / 2)
    uneven = (math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 3
    chosen = select(pool([uneven, even], [0, 0]))
    assert chosen.indices.tolist() == [1]
    assert math.exp(-chosen.gains[0]) == pytest.approx(2)


def test_mean_and_sum_choose_differently_on_a_crafted_pair():
    """20 tokens at -0.4 each sum to -8; 5 tokens at -1 each sum to -5."""
    view = pool([-0.4, -1.0], [0, 0], n_tokens=[20, 5])
    assert select(view, normalize="mean").indices.tolist() == [0]
    by_sum = select(view, normalize="sum")
    assert by_sum.indices.tolist() == [1]
    assert by_sum.reasons == ["best of 2 (log-probability -5.000, next -8.000)"]


def test_ties_and_duplicate_scores_go_to_the_smaller_id():
    assert select(pool([-1.0, -1.0, -1.0], [0, 0, 0])).indices.tolist() == [0]
    ranked = select(pool([-1.0, -0.5, -1.0], [0, 0, 0]), k=3)
    assert ranked.indices.tolist() == [1, 0, 2]


def test_noise_below_the_margin_does_not_change_the_choice():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 4)
    scores = -rng.permuted(np.tile([1.0, 1.1, 1.2, 1.3], (50, 1)), axis=1).ravel()
    exact = select(pool(scores.tolist(), groups.tolist()))
    noisy = scores + rng.uniform(-0.04, 0.04, len(scores))
    assert np.array_equal(select(pool(noisy.tolist(), groups.tolist())).indices, exact.indices)


def test_order_of_the_rows_does_not_matter():
    """Rows come sorted by id; whatever ids the responses have, the same responses are chosen."""
    scores, groups = THREE
    best = {-1.0, -0.5, -8.0}
    for order in list(permutations(range(7)))[::97]:
        view = pool([scores[row] for row in order], [groups[row] for row in order])
        assert set(select(view).gains.tolist()) == best


# Budgets -----------------------------------------------------------------------------------------


def test_smaller_budget_draws_instructions_uniformly_never_by_score():
    view = pool(*THREE)
    counts = dict.fromkeys([1, 3, 6], 0)
    for seed in range(600):
        (row,) = select(view, "1", seed).indices.tolist()
        counts[row] += 1
    assert all(abs(count - 200) < 5 * math.sqrt(600 * 2 / 9) for count in counts.values())


def test_smaller_budget_warns_how_many_instructions_are_left_out():
    assert select(pool(*THREE), "2").warnings[0] == (
        "budget 2 reaches 2 of 3 instructions; the other 1 were left out by a seeded uniform draw, "
        "not by score"
    )
    assert not any("left out" in warning for warning in select(pool(*THREE), "3").warnings)
    assert not any("left out" in warning for warning in select(pool(*THREE)).warnings)


def test_larger_budget_adds_second_best_responses_round_robin():
    everything = select(pool(*THREE), "7").indices.tolist()
    assert sorted(everything[:3]) == [1, 3, 6]
    assert sorted(everything[3:6]) == [0, 4, 5]
    assert everything[6:] == [2]


def test_instructions_keep_their_order_in_every_round():
    groups = np.array(THREE[1])
    everything = groups[select(pool(*THREE), "7").indices].tolist()
    assert everything[:3] == everything[3:6]


def test_budget_over_the_candidates_counts_what_was_excluded():
    view = pool([-1.0, -2.0, -3.0], [0, 0, 1], excluded={"non_finite": 4})
    with pytest.raises(BudgetError) as caught:
        select(view, "3")
    assert str(caught.value) == (
        "budget 3 asks for 3 examples, but only 2 are eligible (7 in the pool; excluded: "
        "4 non_finite, 1 only response to its instruction); give at most --budget 2"
    )


def test_token_budget_takes_a_prefix_of_the_same_order():
    view = pool(*THREE, tokens=np.array([10, 20, 30, 40, 50, 60, 70]))
    ranking = select(view, "7").indices
    spent = np.cumsum(view.tokens[ranking])
    assert np.array_equal(select(view, f"{spent[3]}tok").indices, ranking[:4])
    assert np.array_equal(select(view, f"{spent[3] - 1}tok").indices, ranking[:3])


# Who competes ------------------------------------------------------------------------------------


def test_single_responses_are_excluded_and_counted_unless_kept():
    view = pool([-1.0, -2.0, -5.0], [0, 0, 1])
    chosen = select(view)
    assert chosen.indices.tolist() == [0]
    assert chosen.excluded == {"only response to its instruction": 1}
    kept = select(view, keep_single="true")
    assert sorted(kept.indices.tolist()) == [0, 2] and kept.excluded == {}
    assert "only response (mean log-probability -5.000)" in kept.reasons


def test_pool_without_a_choice_says_what_grape_needs_and_which_flag_keeps_it():
    with pytest.raises(ConfigError) as caught:
        select(pool([-1.0, -2.0, -3.0], [0, 1, 2]))
    assert str(caught.value) == (
        "grape chooses among several responses to one instruction, and no instruction here has two "
        "(3 examples, 3 instructions); ingest data with several responses per instruction, or keep "
        "every single response with --set grape.keep_single=true"
    )
    assert len(select(pool([-1.0, -2.0, -3.0], [0, 1, 2]), keep_single=True)) == 3


def test_truncated_candidates_are_dropped():
    chosen = select(pool([-0.1, -2.0, -3.0], [0, 0, 0], truncated=[True, False, False]))
    assert chosen.indices.tolist() == [1]
    assert chosen.excluded == {"truncated": 1}
    assert chosen.reasons == ["best of 2 (mean log-probability -2.000, next -3.000)"]


def test_only_complete_response_stays_a_choice_among_two():
    chosen = select(pool([-0.1, -2.0], [0, 0], truncated=[True, False]))
    assert chosen.indices.tolist() == [1]
    assert chosen.reasons == ["only complete one of 2 (mean log-probability -2.000)"]


def test_instruction_with_only_truncated_responses_is_kept_and_reported():
    chosen = select(pool([-0.1, -0.2], [0, 0], truncated=[True, True]))
    assert chosen.indices.tolist() == [0]
    assert chosen.excluded == {}
    assert chosen.reasons == ["best of 2 truncated (mean log-probability -0.100, next -0.200)"]
    assert chosen.warnings[0].startswith("1 picks are truncated, like all responses to their")


def test_empty_responses_are_never_selected():
    """An empty response has a mean of minus infinity, and leaves its rival alone."""
    view = pool([-math.inf, -2.0, -1.0, -3.0], [0, 0, 1, 1])
    chosen = select(view)
    assert chosen.indices.tolist() == [2]
    assert chosen.excluded == {
        "log-probability is not finite": 1,
        "only response to its instruction": 1,
    }


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError, match="grape.k=0 keeps nothing; give at least 1 per instruct"):
        build(GRAPE, {"k": "0"})


# What it says ------------------------------------------------------------------------------------


def test_reasons_name_the_place_the_score_and_the_rival():
    view = pool([-1.234, -1.301, -1.5, -2.0], [0, 0, 0, 0])
    assert select(view, k=4).reasons == [
        "best of 4 (mean log-probability -1.234, next -1.301)",
        "second best of 4 (mean log-probability -1.301, best -1.234)",
        "third best of 4 (mean log-probability -1.500, best -1.234)",
        "4th best of 4 (mean log-probability -2.000, best -1.234)",
    ]


def test_reasons_count_in_english():
    reasons = select(pool([-float(row) for row in range(1, 24)], [0] * 23), k=23).reasons
    words = [reason.split(" best")[0] for reason in reasons]
    assert [words[place - 1] for place in (11, 12, 13, 21, 22, 23)] == [
        "11th", "12th", "13th", "21st", "22nd", "23rd",
    ]  # fmt: skip


def test_length_of_the_selected_is_reported():
    chosen = select(pool([-1.0, -2.0, -1.0, -2.0], [0, 0, 1, 1], n_tokens=[30, 10, 20, 20]))
    assert chosen.warnings == (
        "selected responses are 1.25 times as long as the pool's (mean 25.0 and 20.0 tokens)",
    )


def test_needs_are_the_likelihood_scorers_columns_with_the_papers_settings():
    assert GRAPE().requires() == {"likelihood": Need("likelihood", "target")}
    scorer = get_scorer("likelihood")()
    assert (scorer.template, scorer.score_tokens, scorer.score_end) == ("grape", "response", False)
    assert {"mean_logp", "sum_logp", "n_tokens", "truncated"} <= set(scorer.outputs)


# Against brute force -----------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(
        st.sampled_from([-0.5, -1.0, -1.5, math.nan]), st.integers(0, 3), st.sampled_from([0, 0, 1])
    ),
    max_size=12,
)


def by_hand(rows, keep_single: bool) -> list[list[int]]:
    """Return, per instruction, its candidates from best to worst."""
    ranked = []
    for group in sorted({group for _, group, _ in rows}):
        scored = [r for r, (s, g, _) in enumerate(rows) if g == group and math.isfinite(s)]
        if not scored or (len(scored) == 1 and not keep_single):
            continue
        complete = [row for row in scored if not rows[row][2]] or scored
        ranked.append(sorted(complete, key=lambda row: (-rows[row][0], row)))
    return ranked


@given(ROWS, st.booleans(), st.integers(1, 3))
def test_agrees_with_choosing_by_hand(rows, keep_single, k):
    view = pool([s for s, _, _ in rows], [g for _, g, _ in rows], [bool(t) for _, _, t in rows])
    expected = by_hand(rows, keep_single)
    if not expected and not keep_single:
        with pytest.raises(ConfigError, match="no instruction here has two"):
            select(view)
        return
    chosen = select(view, k=k, keep_single=keep_single)
    assert sorted(chosen.indices.tolist()) == sorted(row for one in expected for row in one[:k])
    n_candidates = sum(len(one) for one in expected)
    assert sum(chosen.excluded.values()) == len(rows) - n_candidates
    if n_candidates:
        everything = select(view, str(n_candidates), keep_single=keep_single).indices.tolist()
        rounds = [next(one.index(row) for one in expected if row in one) for row in everything]
        assert rounds == sorted(rounds)


@given(ROWS, st.integers(0, 5))
def test_larger_budget_contains_smaller(rows, seed):
    view = pool([s for s, _, _ in rows], [g for _, g, _ in rows], [bool(t) for _, _, t in rows])
    n = sum(len(one) for one in by_hand(rows, keep_single=True))
    everything = select(view, str(n), seed, keep_single=True).indices.tolist() if n else []
    for size in range(1, n):
        assert select(view, str(size), seed, keep_single=True).indices.tolist() == everything[:size]


@pytest.mark.slow
def test_a_million_rows_take_seconds():
    n = 1_000_000
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 500, n)
    mean_logp = -rng.gamma(2.0, 1.0, n)
    view = View(
        np.arange(n).astype("S32"),
        {
            "likelihood.mean_logp": mean_logp,
            "likelihood.n_tokens": lengths,
            "likelihood.truncated": rng.random(n) < 0.05,
        },
        groups=rng.integers(0, n // 4, n),
    )
    start = time.process_time()
    chosen = select(view)
    assert 200_000 < len(chosen) < 250_000
    assert time.process_time() - start < 8  # 1.2 s, and 4 s under run-time type checks


# Before anything is scored -----------------------------------------------------------------------


def unscored(groups: list[int]) -> View:
    ids = np.array([f"{row:032x}" for row in range(len(groups))], dtype="S32")
    return View(ids, {}, groups=np.array(groups, dtype=np.int64))


def test_a_budget_that_the_pool_cannot_meet_is_refused_before_scoring():
    method = build(GRAPE, {})
    method.refuse_pool(unscored([0, 0, 1]), Budget.parse("2"))
    method.refuse_pool(unscored([0, 0, 1]), Budget.parse("1000tok"))
    method.refuse_pool(unscored([0, 0, 1]), None)
    with pytest.raises(BudgetError) as caught:
        method.refuse_pool(unscored([0, 0, 1]), Budget.parse("3"))
    assert str(caught.value) == (
        "budget 3 asks for 3 examples, but only 2 are eligible (3 in the pool; excluded: "
        "1 only response to its instruction); give at most --budget 2"
    )


def test_a_pool_without_a_choice_is_refused_before_scoring():
    with pytest.raises(ConfigError, match="no instruction here has two"):
        build(GRAPE, {}).refuse_pool(unscored([0, 1, 2]), None)
    build(GRAPE, {"keep_single": "true"}).refuse_pool(unscored([0, 1, 2]), Budget.parse("3"))
