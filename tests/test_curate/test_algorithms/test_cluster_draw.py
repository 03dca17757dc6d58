from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.cluster_draw import (
    allocate_to_clusters,
    draw_from_clusters,
    draw_log_weights,
    gumbel_keys,
    mean_by_cluster,
    update_cluster_weights,
)
from curate.algorithms.groups import places_in_group
from curate.errors import ConfigError

CHI_SQUARED_9 = 27.88  # exceeded once in a thousand times


def exact_shares(total: int, weights: list[int], capacities: list[int]) -> list[Fraction]:
    """The allocation in fractions: shares, full clusters out, again."""
    left = min(total, sum(capacities))
    counts = [Fraction(0)] * len(capacities)
    open_ = [i for i, capacity in enumerate(capacities) if capacity]
    while left:
        held = {i: Fraction(weights[i]) for i in open_}
        if not any(held.values()):
            held = {i: Fraction(capacities[i]) for i in open_}
        share = {i: left * held[i] / sum(held.values()) for i in open_}
        full = [i for i in open_ if share[i] >= capacities[i]]
        if not full:
            for i in open_:
                counts[i] = share[i]
            break
        for i in full:
            counts[i] = Fraction(capacities[i])
        left -= sum(capacities[i] for i in full)
        open_ = [i for i in open_ if i not in full]
    return counts


def official_counts(total: int, sizes) -> np.ndarray:
    """The published KMeansRandom: the same for every cluster, the rest of the division dropped."""
    return np.minimum(int(total / len(sizes)), sizes)


def counts_of(total, weights, capacities, seed=0) -> list[int]:
    return allocate_to_clusters(
        total, np.array(weights, dtype=float), np.array(capacities), seed
    ).tolist()


# Allocation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "weights", "capacities", "wanted"),
    [
        (10, [5, 3, 2], [99, 99, 99], [5, 3, 2]),
        (10, [5, 4, 3], [3, 99, 99], [3, 4, 3]),
        (10, [5, 3, 2], [3, 4, 99], [3, 4, 3]),
        (10, [8, 1, 1], [2, 3, 99], [2, 3, 5]),
        (8, [1, 0, 0], [2, 4, 4], [2, 3, 3]),
        (99, [1, 2], [3, 4], [3, 4]),
        (4, [1, 1], [0, 9], [0, 4]),
    ],
    ids=[
        "even", "a full one passes on", "two pass on", "twice around", "weight 0 last, by capacity",
        "everything", "empty",
    ],
)  # fmt: skip
def test_allocation_by_hand(total, weights, capacities, wanted):
    for seed in range(5):
        assert counts_of(total, weights, capacities, seed) == wanted


def test_fractions_are_rounded_by_chance_to_the_shares_over_seeds():
    """Shares 0.5, 0.5, 1.25 and 0.75 of 3; nothing is drawn of weight 0."""
    found = np.array([counts_of(3, [2, 2, 5, 3, 0], [9] * 5, seed) for seed in range(2_000)])
    assert (found.sum(axis=1) == 3).all()
    assert set(found[:, 0]) == {0, 1} and set(found[:, 2]) == {1, 2} and set(found[:, 4]) == {0}
    assert np.abs(found.mean(axis=0) - [0.5, 0.5, 1.25, 0.75, 0]).max() < 0.05
    assert counts_of(3, [2, 2, 5, 3, 0], [9] * 5, 7) == found[7].tolist()


def test_no_cluster_is_out_of_reach_of_a_small_round():
    """At 512 equal clusters and 236 draws a round the lowest numbers used to take them all."""
    drawn = np.zeros(512, dtype=int)
    for seed in range(60):
        drawn += counts_of(236, np.full(512, 1 / 512), np.full(512, 6), seed)
    assert drawn.sum() == 60 * 236 and (drawn > 0).all()


def test_two_thousand_random_allocations_are_exact():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        k = int(rng.integers(1, 9))
        capacities = rng.integers(0, 30, k).tolist()
        weights = rng.integers(0, 6, k).tolist()
        total = int(rng.integers(0, sum(capacities) + 4))
        found = counts_of(total, weights, capacities, int(rng.integers(1_000)))
        shares = exact_shares(total, weights, capacities)
        assert all(int(s) <= n <= -(-s // 1) for n, s in zip(found, shares, strict=True))
        assert sum(found) == min(total, sum(capacities))
        assert all(count <= capacity for count, capacity in zip(found, capacities, strict=True))


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=40), st.data())
def test_by_size_no_cluster_is_more_than_one_from_its_share(sizes, data):
    total = data.draw(st.integers(0, sum(sizes)))
    found = counts_of(total, sizes, sizes)
    assert sum(found) == total
    assert all(abs(c - total * s / sum(sizes)) < 1 for c, s in zip(found, sizes, strict=True))


def test_scale_of_the_weights_does_not_matter():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 500, 300)
    for scale in (1e-12, 1 / 3, 1e12):
        assert counts_of(5_000, sizes * scale, sizes) == counts_of(5_000, sizes, sizes)


@pytest.mark.parametrize(
    ("k", "official"), [(512, 9_728), (1024, 9_216), (2048, 8_192), (4096, 8_192), (9_801, 0)]
)
def test_the_official_split_underfills_where_ours_is_exact(k, official):
    sizes = np.full(k, 196_000 // k)
    assert official_counts(9_800, sizes).sum() == official
    assert sum(counts_of(9_800, np.ones(k), sizes)) == 9_800


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 200))
def test_equal_weights_give_the_official_counts_and_then_the_rest(sizes, total):
    ours = np.array(counts_of(total, np.ones(len(sizes)), sizes))
    official = official_counts(total, np.array(sizes))
    assert (ours >= official).all()
    if total % len(sizes) == 0 and total // len(sizes) <= min(sizes):
        assert ours.tolist() == official.tolist()


def test_rounds_share_a_budget_and_the_official_new_draw_forgets_the_clusters():
    budget = int(196_000 * 0.05)
    assert sorted(counts_of(budget, [1, 1, 1], [budget] * 3)) == [3_266, 3_267, 3_267]
    assert int(196_000 * 0.05 / 512 / 3) == 6


# Chances -----------------------------------------------------------------------------------------


def chances(quality, prob="softmax", temperature=1.0) -> np.ndarray:
    logs = draw_log_weights(np.array(quality, dtype=float), prob, temperature)
    raised = np.exp(logs - logs.max())
    return raised / raised.sum()


def test_softmax_of_raw_scores_is_nearly_greedy():
    falling = np.sort(chances(np.arange(1, 37)))[::-1]
    assert falling[0] == pytest.approx(0.632, abs=5e-4)
    assert falling[:3].sum() == pytest.approx(0.950, abs=5e-4)


def test_chances_by_hand():
    assert chances([0, np.log(3)]) == pytest.approx([1 / 4, 3 / 4])
    assert chances([0, np.log(3)], temperature=0.5) == pytest.approx([1 / 10, 9 / 10])
    assert chances([1, 3], "linear") == pytest.approx([1 / 4, 3 / 4])
    assert chances([1, 3], "linear", 0.5) == pytest.approx([1 / 10, 9 / 10])
    assert chances([0, 3], "linear") == pytest.approx([0, 1])
    assert chances([-5, 800], "uniform") == pytest.approx([1 / 2, 1 / 2])


def test_linear_chances_of_a_negative_quality_are_refused():
    with pytest.raises(ConfigError, match=r"the lowest is -1.5; use prob=softmax, or a quality"):
        draw_log_weights(np.array([0.5, -1.5]), "linear", 1.0)


# The draw ----------------------------------------------------------------------------------------


def take(quality, n: int, seed: int, prob="softmax") -> list[int]:
    """Draw n rows of one cluster."""
    logs = draw_log_weights(np.array(quality, dtype=float), prob, 1.0)
    codes = np.zeros(len(quality), dtype=np.int64)
    places = places_in_group(-gumbel_keys(logs, np.random.default_rng(seed)), codes)[1]
    return draw_from_clusters(places, codes, np.array([n])).tolist()


def test_a_score_of_720_does_not_overflow_and_is_taken():
    with np.errstate(over="raise", invalid="raise"):
        assert all(take([1.0, 720.0, 30.0], 1, seed) == [1] for seed in range(200))


@pytest.mark.slow
def test_equal_qualities_are_an_even_draw():
    for quality in (0.0, 36.0, 720.0):
        first = [take([quality] * 4, 1, seed)[0] for seed in range(4000)]
        assert np.bincount(first) / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_weight_zero_comes_last():
    assert all(set(take([0, 2, 0, 1], 2, s, "linear")) == {1, 3} for s in range(100))
    assert sorted(take([0, 2, 0, 1], 4, 0, "linear")) == [0, 1, 2, 3]


@pytest.mark.slow
def test_draws_have_the_law_of_sampling_without_replacement():
    """Chi-squared over all pairs of five rows: against the law, and against numpy's own draws."""
    quality, n = np.array([2.0, 1.5, 1.0, 0.0, -1.0]), 20_000
    p = chances(quality)
    pairs = list(combinations(range(5), 2))
    law = np.array([sum(p[a] * p[b] / (1 - p[a]) for a, b in permutations(pair)) for pair in pairs])
    assert law.sum() == pytest.approx(1)
    rng = np.random.default_rng(7)
    keys = gumbel_keys(np.tile(quality, n), rng)
    codes = np.repeat(np.arange(n), 5)
    rows = draw_from_clusters(places_in_group(-keys, codes)[1], codes, np.full(n, 2))
    ours = counted(np.sort(rows.reshape(2, n), axis=0).T % 5, pairs)
    theirs = counted(
        np.sort([rng.choice(5, 2, replace=False, p=p) for _ in range(n)], axis=1), pairs
    )
    assert ((ours - n * law) ** 2 / (n * law)).sum() < CHI_SQUARED_9
    assert ((ours - theirs) ** 2 / (ours + theirs)).sum() < CHI_SQUARED_9


def counted(drawn: np.ndarray, pairs) -> np.ndarray:
    numbers = {pair: i for i, pair in enumerate(pairs)}
    return np.bincount([numbers[tuple(pair)] for pair in drawn.tolist()], minlength=len(pairs))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40), st.data()
)
def test_rows_are_the_largest_keys_of_each_cluster(rows, data):
    codes, keys = (np.array(column) for column in zip(*rows, strict=True))
    sizes = np.bincount(codes, minlength=5)
    counts = np.array([data.draw(st.integers(0, int(size))) for size in sizes])
    places = places_in_group(-keys.astype(float), codes)[1]
    found = draw_from_clusters(places, codes, counts)
    wanted = set()
    for code in range(5):
        inside = [row for row in range(len(rows)) if codes[row] == code]
        wanted |= set(sorted(inside, key=lambda row: (-keys[row], row))[: counts[code]])
    assert set(found.tolist()) == wanted and len(found) == counts.sum()
    for m in range(len(found) + 1):
        drawn = np.bincount(codes[found[:m]], minlength=5)
        assert (np.abs(drawn - m * counts / max(len(found), 1)) <= 2).all()


def test_rounds_are_disjoint_and_sum_to_the_budget():
    """What the iterative method does between its trainings, without them."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 12, 600)
    keys = gumbel_keys(rng.normal(size=600), rng)
    available = np.ones(600, dtype=bool)
    weights, taken = np.full(12, 1 / 12), []
    for size in allocate_to_clusters(100, np.ones(3), np.full(3, 100), 0).tolist():
        rows = np.flatnonzero(available)
        left = np.bincount(codes[rows], minlength=12)
        places = places_in_group(-keys[rows], codes[rows])[1]
        new = rows[
            draw_from_clusters(places, codes[rows], allocate_to_clusters(size, weights, left, 0))
        ]
        available[new] = False
        taken += new.tolist()
        scores = np.full(600, np.nan)
        scores[new] = rng.normal(size=len(new))
        weights = update_cluster_weights(weights, mean_by_cluster(scores, codes, 12))
    assert len(taken) == len(set(taken)) == 100


# Weights of clusters -----------------------------------------------------------------------------


def test_means_skip_rows_without_a_score():
    values = np.array([1.0, np.nan, 3.0, np.nan, 5.0])
    means = mean_by_cluster(values, np.array([0, 0, 0, 1, 3]), 5)
    np.testing.assert_array_equal(means, [2, np.nan, np.nan, 5, np.nan])


def test_official_update_is_the_softmax_of_the_mean_differences():
    scores = np.array([-1.5, 0.0, 2.0])
    wanted = np.exp(scores) / np.exp(scores).sum()
    prior = np.array([0.7, 0.2, 0.1])
    assert update_cluster_weights(prior, scores, "official") == pytest.approx(wanted)


def test_hedge_is_the_official_update_from_even_weights_and_only_there():
    scores = np.array([-1.5, 0.0, 2.0])
    even, uneven = np.full(3, 1 / 3), np.array([0.7, 0.2, 0.1])
    official = update_cluster_weights(even, scores, "official")
    first = update_cluster_weights(even, scores)
    assert first == pytest.approx(official)
    assert update_cluster_weights(uneven, scores) != pytest.approx(official)
    second = update_cluster_weights(first, scores)
    assert second == pytest.approx(np.exp(2 * scores) / np.exp(2 * scores).sum())


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8), st.floats(0.1, 10))
def test_a_higher_score_raises_its_clusters_weight_alone(scores, tau):
    weights = np.full(len(scores), 1 / len(scores))
    before = update_cluster_weights(weights, np.array(scores), tau=tau)
    after = update_cluster_weights(weights, np.array([scores[0] + 1, *scores[1:]]), tau=tau)
    assert before.sum() == pytest.approx(1) and after.sum() == pytest.approx(1)
    assert after[0] >= before[0] and (after[1:] <= before[1:]).all()


def test_a_less_likely_gold_answer_raises_its_clusters_weight():
    """Equation 7: the score is log PPL(gold) - log PPL(generated)."""
    generated = np.log([4.0, 4.0])
    weights = np.full(2, 0.5)
    after = update_cluster_weights(weights, np.log([8.0, 4.0]) - generated)
    assert after == pytest.approx([2 / 3, 1 / 3])


def test_clusters_without_a_score_get_the_mean_score():
    scores = np.array([0.0, np.nan, np.log(4)])
    filled = np.array([0.0, np.log(2), np.log(4)])
    weights = np.full(3, 1 / 3)
    assert update_cluster_weights(weights, scores) == pytest.approx(
        update_cluster_weights(weights, filled)
    )
    nothing = update_cluster_weights(np.array([3.0, 1.0]), np.full(2, np.nan))
    assert nothing == pytest.approx([0.75, 0.25])


def test_weights_stay_finite_at_any_score():
    found = update_cluster_weights(np.array([0.0, 0.5, 0.5]), np.array([900.0, 800.0, -800.0]))
    assert found == pytest.approx([0, 1, 0])
