import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.algorithms.kmeans import Clusters, kmeans
from curate.contracts import Budget, View
from curate.contracts.view import Vectors
from curate.errors import BudgetError, ConfigError, MissingColumnError
from curate.registry import get_selector

S2L = get_selector("s2l")
SEED = 5


def planted(sizes, points: int = 4, sources=None, seed: int = 0) -> View:
    """A view whose trajectories form clusters of exactly these sizes, in a shuffled order."""
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 50.0 * np.arange(len(sizes))[:, None] * np.ones(points)
    return viewed(centres[cluster] + 0.01 * rng.normal(size=(len(cluster), points)), sources)


def viewed(losses: np.ndarray, sources=None) -> View:
    n = len(losses)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        sources=None if sources is None else np.asarray(sources),
        source_names=() if sources is None else [f"s{code}" for code in np.unique(sources)],
        vectors_by_column={"trajectory.losses": Vectors(losses.astype(np.float32))},
    )


def select(view: View, budget: int, seed: int = SEED, **fields):
    return S2L(**fields).select(view, Budget(budget), np.random.default_rng(seed))


@pytest.fixture
def as_planted():
    """Take the planted clusters as they are: k-means may split a large one and join small ones."""

    def clusters(vectors, n_clusters, **settings):
        del n_clusters, settings
        losses = vectors.take(np.arange(len(vectors)))
        codes = np.round(losses[:, 0] / 50).astype(np.int64)
        return Clusters(codes, np.zeros(len(codes)), np.zeros((codes.max() + 1, 1)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[S2L.__module__], "kmeans", clusters)
        yield lambda view: np.round(view.matrix("trajectory.losses")[:, 0] / 50).astype(int)


def clusters_of(view: View, **fields) -> np.ndarray:
    """The clusters of a whole pool, as `S2L` with ``stratify=none`` and the seed makes them."""
    losses = view.matrix("trajectory.losses")
    seed = int(np.random.default_rng(SEED).integers(2**31 - 1))
    return kmeans(Vectors(losses), fields.get("n_clusters", 100), seed=seed).codes


def official_counts(sizes: np.ndarray, n: int, min_cluster: int = 3) -> dict[int, int]:
    """How many the official loop draws of each cluster: ascending, equal shares of what is left."""
    counts = dict.fromkeys(range(len(sizes)), 0)
    large = [c for c in np.argsort(sizes, kind="stable").tolist() if sizes[c] >= min_cluster]
    left = n
    for done, cluster in enumerate(large):
        share = left // (len(large) - done)
        counts[cluster] = min(share, int(sizes[cluster]))
        left -= counts[cluster]
    counts["small"] = left  # drawn from the clusters that were dropped
    return counts


def counted(codes: np.ndarray, sizes: np.ndarray, min_cluster: int = 3) -> dict[int, int]:
    large = sizes[codes] >= min_cluster
    counts = {c: int((codes[large] == c).sum()) for c in range(len(sizes))}
    return {**counts, "small": int((~large).sum())}


def water_level(sizes, counts) -> bool:
    """Whether counts are a water-filling: equal up to one, except where a cluster is used up."""
    open_ = [count for size, count in zip(sizes, counts, strict=True) if count < size]
    return not open_ or max(counts) - min(open_) <= 1


def test_sizes_3_5_40_and_24_picks_by_hand(as_planted):
    view = planted((3, 5, 40))
    picks = select(view, 24, stratify="none").indices
    assert np.bincount(as_planted(view)[picks]).tolist() == [3, 5, 16]


def test_descending_order_would_miss_the_budget_of_the_same_pool():
    left, taken = 24, []
    for done, size in enumerate((40, 5, 3)):
        taken.append(min(left // (3 - done), size))
        left -= taken[-1]
    assert taken == [8, 5, 3]  # 16 of 24: what `S2L` must not do


@pytest.mark.parametrize("budget", [1, 7, 25, 60, 119, 120])
def test_clusters_and_counts_equal_the_official_algorithm(budget):
    rng = np.random.default_rng(3)
    view = viewed(rng.gamma(1.0, size=(120, 5)))
    codes = clusters_of(view, n_clusters=12)
    sizes = np.bincount(codes, minlength=12)
    chosen = select(view, budget, n_clusters=12, stratify="none")
    shown = [f"cluster {codes[row]} of {sizes[codes[row]]} examples" for row in chosen.indices]
    assert chosen.reasons == shown
    assert counted(codes[chosen.indices], sizes) == official_counts(sizes, budget)


def test_pareto_sizes_meet_the_budget_with_the_official_counts(as_planted):
    sizes = (3 * (np.random.default_rng(0).pareto(1.2, 30) + 1)).astype(int)
    view = planted(sizes, points=1)
    budget = int(sizes.sum() * 0.5)
    picks = select(view, budget, stratify="none").indices
    assert len(set(picks.tolist())) == budget
    assert counted(as_planted(view)[picks], sizes) == official_counts(sizes, budget)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 4), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_prefix_is_a_water_filling_with_the_official_counts(as_planted, sizes, least, data):
    view = planted(sizes)
    n = data.draw(st.integers(1, len(view)))
    ranked = select(view, len(view), stratify="none", min_cluster=least).indices
    codes, found = as_planted(view)[ranked[:n]], np.array(sizes)
    assert counted(codes, found, least) == official_counts(found, n, least)
    if least == 1:
        assert water_level(sizes, np.bincount(codes, minlength=len(sizes)).tolist())


@pytest.mark.parametrize(
    "view",
    [
        planted([1] * 30), planted([60]), planted([1, 1, 58]), planted([30, 30]),
        viewed(np.ones((40, 3))), planted([2] * 7),
    ],
    ids=["singletons", "one giant", "giant and singletons", "two", "all equal", "pairs"],
)  # fmt: skip
@pytest.mark.parametrize("stratify", ["source", "none"])
def test_exactly_the_budget_whatever_the_sizes(view, stratify):
    for budget in (1, 2, 5, len(view) - 1, len(view)):
        picks = select(view, budget, stratify=stratify, n_clusters=10).indices
        assert len(picks) == len(set(picks.tolist())) == budget


def test_small_clusters_come_last_unless_all_are_alike(as_planted):
    view = planted([1, 2, 20])
    sizes = np.array([1, 2, 20])[as_planted(view)]
    last = select(view, 23, stratify="none").indices
    assert set(sizes[last[:20]]) == {20}
    alike = select(view, 3, stratify="none", min_cluster=1).indices
    assert sorted(sizes[alike].tolist()) == [1, 2, 20]


def test_sources_are_filled_first_and_then_their_clusters():
    rng = np.random.default_rng(1)
    sources = np.repeat([0, 1, 2], [4, 30, 66])
    view = viewed(rng.normal(size=(100, 3)), sources)
    picks = select(view, 40, n_clusters=4).indices
    assert np.bincount(sources[picks]).tolist() == [4, 18, 18]
    pooled = select(view, 40, n_clusters=4, stratify="none").indices
    assert np.bincount(sources[pooled]).tolist() != [4, 18, 18]


def test_one_source_is_the_whole_pool():
    view = planted((5, 9))
    one = replace(view, sources=np.zeros(14, dtype=int), source_names=("a",))
    assert select(one, 6).indices.tolist() == select(view, 6, stratify="none").indices.tolist()


def test_fewer_rows_than_clusters_are_said_and_still_meet_the_budget():
    chosen = select(planted((3, 5)), 6)
    assert len(chosen) == 6
    assert "fewer examples with a trajectory (8) than n_clusters=100" in chosen.warnings[0]
    assert "--set s2l.n_clusters=N" in chosen.warnings[0]


def test_examples_without_a_trajectory_are_left_out_and_counted():
    losses = np.random.default_rng(0).normal(size=(20, 3))
    losses[[2, 7, 11], 1] = np.nan
    chosen = select(viewed(losses), 17)
    assert chosen.excluded == {"no trajectory": 3}
    assert not {2, 7, 11} & set(chosen.indices.tolist())
    with pytest.raises(BudgetError, match="only 17 are eligible .*3 no trajectory"):
        select(viewed(losses), 18)


def test_the_seed_decides_the_draw():
    view = planted((50, 50))
    same = [select(view, 20, seed=1).indices.tolist() for _ in range(2)]
    assert same[0] == same[1] != select(view, 20, seed=2).indices.tolist()


def test_gains_are_one_over_the_size_of_the_cluster(as_planted):
    chosen = select(planted((4, 8)), 12, stratify="none")
    assert sorted(set(chosen.gains.tolist())) == [1 / 8, 1 / 4]


def test_without_trajectories_the_message_says_what_to_run():
    with pytest.raises(MissingColumnError, match="curate score --scorer trajectory"):
        S2L().select(View(np.array([b"a"])), Budget(1), np.random.default_rng(0))


@pytest.mark.parametrize("field", ["n_clusters", "niter", "max_points_per_centroid", "min_cluster"])
def test_settings_below_one_are_refused(field):
    with pytest.raises(ConfigError, match=f"s2l.{field} must be at least 1, got 0"):
        S2L(**{field: 0})
