import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.algorithms.kmeans import Clusters, kmeans
from curate.contracts import Budget, Expression, Need, View
from curate.contracts.view import Vectors
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_selector
from curate.testing import check_selector
from curate_selectors.kmq import clusters_by_size

KMQ = get_selector("kmq")
SEED = 5


def viewed(vectors: np.ndarray, quality=None, tokens=None, **more) -> View:
    n = len(vectors)
    quality = np.zeros(n) if quality is None else np.asarray(quality, dtype=float)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {"quality": quality},
        tokens=tokens,
        vectors_by_column={"embedding.vector": Vectors(vectors.astype(np.float32))},
        **more,
    )


def planted(sizes, quality=None, seed: int = 0, **more) -> View:
    """A view whose vectors form clusters of exactly these sizes, in a shuffled order."""
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 50.0 * (1 + np.arange(len(sizes)))[:, None] * np.ones(3)
    points = centres[cluster] + 0.01 * rng.normal(size=(len(cluster), 3))
    return viewed(points, quality, **more)


def cluster_of(view: View) -> np.ndarray:
    vectors = view.vectors("embedding.vector")
    return np.round(vectors.take(np.arange(len(view)))[:, 0] / 50).astype(np.int64) - 1


def select(view: View, budget, seed: int = SEED, **fields):
    spent = Budget.parse(budget)
    return build(KMQ, {"prob": "softmax", **fields}).select(
        view, spent, np.random.default_rng(seed)
    )


@pytest.fixture
def as_planted():
    """Take the planted clusters as they are: k-means may split a large one and join small ones."""

    def clusters(vectors, n_clusters, **settings):
        del settings
        points = vectors.take(np.arange(len(vectors)))
        codes = np.round(points[:, 0] / 50).astype(np.int64) - 1
        return Clusters(codes, np.zeros(len(codes)), np.zeros((n_clusters, 1)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[KMQ.__module__], "kmeans", clusters)
        yield


# The split ---------------------------------------------------------------------------------------


def test_each_cluster_gives_its_share_of_the_pool(as_planted):
    view = planted((10, 30, 60))
    for budget, wanted in ((10, [1, 3, 6]), (50, [5, 15, 30])):
        picks = select(view, budget, k=3).indices
        assert np.bincount(cluster_of(view)[picks], minlength=3).tolist() == wanted


def test_a_fraction_of_an_example_is_rounded_by_chance(as_planted):
    """Of 13 examples, clusters of 10, 30 and 60 in 100 are due 1.3, 3.9 and 7.8."""
    view = planted((10, 30, 60))
    counts = [
        np.bincount(cluster_of(view)[select(view, 13, seed, k=3).indices], minlength=3)
        for seed in range(200)
    ]
    assert {*map(tuple, counts)} <= {(1, 4, 8), (2, 3, 8), (2, 4, 7)}
    assert np.abs(np.mean(counts, axis=0) - [1.3, 3.9, 7.8]).max() < 0.1


def test_every_example_can_be_drawn_where_there_are_more_clusters_than_picks(as_planted):
    view = planted((3,) * 20)
    drawn = {i for seed in range(200) for i in select(view, 6, seed, k=20).indices.tolist()}
    assert len(drawn) == 60
    (warning,) = select(view, 6, k=20).warnings
    assert warning == (
        "6 examples from 20 clusters: at least 14 clusters give none, by chance; use fewer with "
        "--set kmq.k=3, or select more"
    )
    assert select(view, 20, k=20).warnings == ()


def test_equal_split_passes_on_what_a_small_cluster_cannot_give(as_planted):
    view = planted((2, 30, 60))
    picks = select(view, 30, k=3, init="uniform").indices
    assert np.bincount(cluster_of(view)[picks]).tolist() == [2, 14, 14]


@given(st.lists(st.integers(1, 15), min_size=1, max_size=6), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_the_budget_whatever_the_sizes(as_planted, sizes, data):
    view = planted(sizes)
    budget = data.draw(st.integers(1, len(view)))
    init = data.draw(st.sampled_from(["size", "uniform"]))
    picks = select(view, budget, k=len(sizes), init=init).indices
    assert len(picks) == len(set(picks.tolist())) == budget


@pytest.mark.parametrize("k", [1, 7, 40, 100])
@pytest.mark.parametrize("budget", [1, 6, 39, 100])
def test_exactly_the_budget_for_any_number_of_clusters(k, budget):
    """Also for more clusters than picks, and for a cluster for every row."""
    view = viewed(np.random.default_rng(0).normal(size=(100, 4)))
    picks = select(view, budget, k=k).indices
    assert len(picks) == len(set(picks.tolist())) == budget


def test_equal_vectors_leave_clusters_empty_and_the_budget_is_met():
    view = viewed(np.ones((50, 4)))
    assert len(select(view, 20, k=8)) == 20
    assert len(select(view, 20, k=8, init="uniform")) == 20


def test_a_prefix_takes_about_the_same_share_of_every_cluster(as_planted):
    view = planted((10, 30, 60))
    ranked = select(view, 50, k=3).indices
    assert np.bincount(cluster_of(view)[ranked[:10]]).tolist() == [1, 3, 6]


def test_a_token_budget_is_the_largest_count_that_fits(as_planted):
    tokens = np.random.default_rng(0).integers(5, 90, 100)
    view = planted((10, 30, 60), tokens=tokens)
    chosen = select(view, "1000tok", k=3)
    assert tokens[chosen.indices].sum() <= 1000
    assert tokens[select(view, len(chosen) + 1, k=3).indices].sum() > 1000
    assert chosen.indices.tolist() == select(view, len(chosen), k=3).indices.tolist()


# The draw ----------------------------------------------------------------------------------------


def share_of_the_best(view: View, **fields) -> float:
    """How often the row of the highest quality is among 10 of 100."""
    best = int(np.argmax(view.scores("quality")))
    return float(
        np.mean([best in select(view, 10, seed, k=1, **fields).indices for seed in range(60)])
    )


@pytest.mark.slow
def test_quality_raises_the_chance_and_temperature_lowers_its_say():
    quality = np.zeros(100)
    quality[17] = 3.0  # e^3 times as likely as any other row
    view = viewed(np.random.default_rng(0).normal(size=(100, 2)), quality)
    uniform = share_of_the_best(view, prob="uniform")
    warm, cold = share_of_the_best(view, temperature=3.0), share_of_the_best(view, temperature=0.3)
    assert uniform == pytest.approx(0.1, abs=0.12)
    assert uniform < warm < share_of_the_best(view) < cold == 1
    assert share_of_the_best(view, prob="linear") == 1  # nothing else has a chance


def test_a_score_of_720_does_not_raise_and_is_always_chosen():
    quality = np.arange(40.0)
    quality[3] = 720.0
    view = viewed(np.random.default_rng(0).normal(size=(40, 2)), quality)
    assert all(3 in select(view, 1, seed, k=1).indices for seed in range(30))


def test_all_equal_qualities_are_drawn_evenly():
    view = viewed(np.random.default_rng(0).normal(size=(60, 2)), np.full(60, 36.0))
    assert len(select(view, 30, k=4)) == 30
    assert len(select(view, 30, k=4, prob="linear")) == 30
    assert len(select(viewed(np.eye(6)), 6, k=2, prob="linear")) == 6  # all of them 0


def test_linear_chances_of_a_negative_quality_are_refused():
    with pytest.raises(ConfigError, match="the lowest is -2; use prob=softmax"):
        select(viewed(np.eye(3), [1, -2, 3]), 1, k=1, prob="linear")


def test_gains_are_qualities_and_reasons_say_the_cluster(as_planted):
    view = planted((2, 8), quality=np.arange(10.0))
    chosen = select(view, 5, k=2)
    assert chosen.gains.tolist() == chosen.indices.tolist()
    cluster = cluster_of(view)[chosen.indices[0]]
    size, drawn = ((2, 1), (8, 4))[cluster]
    assert chosen.reasons[0] == (
        f"one of {drawn} drawn from the {size} of cluster {cluster} (of 2), "
        f"quality {chosen.gains[0]:.6g}"
    )
    uniform = select(view, 5, k=2, prob="uniform")
    assert uniform.gains is None and "quality" not in uniform.reasons[0]


def test_the_seed_decides_clusters_and_draw():
    view = viewed(np.random.default_rng(0).normal(size=(200, 4)))
    same = [select(view, 20, seed=1).indices.tolist() for _ in range(2)]
    assert same[0] == same[1] != select(view, 20, seed=2).indices.tolist()


def test_labels_are_byte_identical_for_a_seed_and_a_training_limit():
    points = Vectors(np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32))
    first, again = (
        kmeans(points, 16, seed=42, niter=20, max_points_per_centroid=64) for _ in range(2)
    )
    assert first.codes.tobytes() == again.codes.tobytes()
    other = kmeans(points, 16, seed=42, niter=20, max_points_per_centroid=256)
    assert first.codes.tobytes() != other.codes.tobytes()


# The number of clusters --------------------------------------------------------------------------


@pytest.mark.parametrize("k", ["auto", "silhouette", "elbow"])
def test_the_number_of_clusters_is_found(k):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 6)) * 12
    view = viewed(rng.permutation(np.repeat(centres, 100, axis=0)) + rng.normal(size=(800, 6)))
    assert all("(of 8)" in reason for reason in select(view, 40, k=k).reasons)


@pytest.mark.slow
@pytest.mark.parametrize("k", ["auto", "silhouette", "elbow"])
def test_other_ways_to_a_number_of_clusters_keep_the_contract(k):
    """The contract test of all selectors takes ``by-size``."""
    check_selector(KMQ(k=k, prob="uniform"))


def test_more_clusters_than_examples_are_refused():
    with pytest.raises(ConfigError) as error:
        select(viewed(np.eye(5)), 2, k=6)
    assert str(error.value) == (
        "kmq.k=6 clusters need as many examples, but only 5 can be drawn; "
        "give at most --set kmq.k=5, or --set kmq.k=by-size"
    )


# What cannot be drawn ----------------------------------------------------------------------------


def test_unusable_embeddings_and_qualities_are_named_counted_and_left_out():
    vectors, quality = np.random.default_rng(0).normal(size=(30, 3)), np.zeros(30)
    vectors[4, 1], vectors[9], vectors[20, 0] = np.nan, 0.0, np.inf
    quality[[9, 11]] = np.nan
    chosen = select(viewed(vectors, quality), 26, k=3)
    assert chosen.excluded == {
        "embedding is not finite": 2, "embedding has length 0": 1, "quality is not finite": 1,
    }  # fmt: skip
    assert sorted({*range(30)} - {*chosen.indices.tolist()}) == [4, 9, 11, 20]
    assert chosen.warnings == (
        f"2 examples were left out because the embedding is not finite: {4:032x}, {20:032x}",
        f"1 example was left out because the embedding has length 0: {9:032x}",
        f"1 example was left out because the quality is not finite: {11:032x}",
    )
    with pytest.raises(BudgetError, match="only 26 are eligible .*2 embedding is not finite"):
        select(viewed(vectors, quality), 27, k=3)


def test_only_the_first_few_are_named():
    vectors = np.ones((20, 2))
    vectors[:9] = 0
    (warning,) = select(viewed(vectors), 3, k=1).warnings
    assert warning.startswith("9 examples were left out") and warning.endswith("and 4 more")


def test_nothing_to_draw_from_says_what_is_lacking():
    with pytest.raises(
        ConfigError, match=r"no example has an embedding and a quality .*\(3 embedd"
    ):
        select(viewed(np.zeros((3, 2))), 1)


def test_rows_behind_an_index_are_those_of_the_view():
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(60)[:40]
    straight = viewed(points[order])
    behind = viewed(points[order])
    object.__setattr__(behind, "vectors_by_column", {"embedding.vector": Vectors(points, order)})
    assert select(behind, 9, k=4).indices.tolist() == select(straight, 9, k=4).indices.tolist()


# Requests ----------------------------------------------------------------------------------------


def test_the_default_draw_needs_an_embedding_alone():
    """Until a score that measures quality is named, all examples of a cluster have the same chance."""
    assert KMQ().requires() == {"embedding": Need("embedding")}
    assert "quality" in KMQ(quality="reward.value").requires()
    view = viewed(np.eye(4), [0.0, 0.0, 0.0, 9.0])
    assert select(view, 2, k=1, prob="auto").gains is None
    assert select(view, 2, k=1, prob="auto", quality="q").gains is not None


@pytest.mark.parametrize(
    ("n", "k"), [(7, 1), (40, 2), (1_000, 50), (20_480, 1_024), (10_000_000, 1_024)]
)
def test_by_default_a_cluster_has_twenty_examples_and_there_are_at_most_1024(n, k):
    assert clusters_by_size(n) == k


def test_the_default_number_of_clusters_is_in_the_reasons():
    view = viewed(np.random.default_rng(0).normal(size=(100, 4)))
    assert all("(of 5)" in reason for reason in select(view, 20).reasons)


def test_the_defaults_are_computed_where_they_are_missing():
    assert KMQ(prob="softmax").requires() == {
        "embedding": Need("embedding"),
        "likelihood": Need("likelihood", "target"),
        "quality": Expression("likelihood.mean_logp"),
    }


def test_a_stored_embedding_and_any_expression_can_take_their_place():
    asked = build(KMQ, {"embedding": "minilm", "quality": "0.7 * reward.value"}).requires()
    assert asked == {"minilm": Need(None), "quality": Expression("0.7 * reward.value")}
    vectors = {"minilm.vector": Vectors(np.eye(4))}
    view = View(np.arange(4).astype("S2"), {"quality": np.ones(4)}, vectors_by_column=vectors)
    chosen = KMQ(embedding="minilm", quality="1", k=2)
    assert len(chosen.select(view, Budget(2), np.random.default_rng(0))) == 2


def test_a_uniform_draw_reads_no_quality():
    assert KMQ(prob="uniform").requires() == {"embedding": Need("embedding")}


@pytest.mark.parametrize("field", ["k", "niter", "max_points_per_centroid"])
def test_settings_below_one_are_refused(field):
    with pytest.raises(ConfigError, match=f"kmq.{field} must be at least 1, got 0"):
        KMQ(**{field: 0})


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match="kmq.temperature must be positive, got .*prob=uniform"):
        KMQ(temperature=temperature)


@pytest.mark.parametrize(("field", "hint"), [("embedding", "the alias"), ("quality", "an express")])
def test_empty_names_are_refused(field, hint):
    with pytest.raises(ConfigError, match=f"kmq.{field} is empty; give {hint}"):
        KMQ(**{field: " "})


def test_without_a_budget_the_message_says_which():
    with pytest.raises(BudgetError, match="kmq needs a budget; add --budget 10%, 5000 or 2Mtok"):
        KMQ().select(viewed(np.eye(2)), None, np.random.default_rng(0))
