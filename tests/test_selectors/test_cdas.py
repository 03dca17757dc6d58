import numpy as np
import pytest

from curate.algorithms.kmeans import kmeans
from curate.algorithms.seeds import draw_seed
from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

CDAS = get_selector("cdas")


def pool(sizes, seed=0):
    """Return points in clusters, their IFD, and the cluster that k-means with the draw's seed gives each."""
    rng = np.random.default_rng(seed)
    planted = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes))[planted] + 0.1 * rng.normal(size=(len(planted), len(sizes)))
    points = points.astype(np.float32)
    drawn = draw_seed(np.random.default_rng(0))
    found = kmeans(Vectors(points), len(sizes), seed=drawn, niter=20, spherical=True)
    return points, rng.uniform(0.2, 1.3, len(planted)), found.codes


def view_of(points, ratio):
    points = np.asarray(points, dtype=np.float32)
    return View(
        np.array([f"{row:04d}".encode() for row in range(len(points))]),
        {"ifd.ratio_ppl": np.asarray(ratio, float)},
        vectors_by_column={"question.vector": Vectors(points)},
    )


def choose(view, budget, **settings):
    wanted = None if budget is None else Budget(budget)
    return CDAS(**settings).select(view, wanted, np.random.default_rng(0))


def published(ratio, codes, share):
    """Keep below 1, sort each cluster, take int(n * share) of what is kept."""
    picks = set()
    for code in set(codes.tolist()):
        kept = [row for row in np.flatnonzero(codes == code) if ratio[row] < 1]
        kept.sort(key=lambda row: (-ratio[row], row))
        picks |= set(kept[: int(len(kept) * share)])
    return picks


@pytest.mark.parametrize("share", [0.1, 0.4, 0.75, 1.0])
def test_each_cluster_gives_the_published_share_of_what_is_below_one(share):
    points, ratio, codes = pool([40, 25, 7, 3])
    chosen = choose(view_of(points, ratio), None, n_clusters=4, ratio=share)
    expected = published(ratio, codes, share)
    assert set(chosen.indices.tolist()) == expected
    again = choose(view_of(points, ratio), len(expected), n_clusters=4)
    assert again.indices.tolist() == chosen.indices.tolist()


def test_a_budget_takes_from_every_cluster_in_proportion():
    points, ratio, codes = pool([60, 30, 10])
    ratio = ratio / 2  # all below 1
    chosen = choose(view_of(points, ratio), 20, n_clusters=3)
    share = np.bincount(codes[chosen.indices], minlength=3) - np.bincount(codes) * 0.2
    assert (np.abs(share) < 1).all()
    size = np.bincount(codes)[codes[chosen.indices[0]]]
    assert chosen.reasons[0].startswith(f"IFD {chosen.gains[0]:.4f}, place 1 of {size} in cluster")


def test_what_cannot_be_ranked_is_left_out_and_counted():
    points = [[1, 0], [1, 0.1], [0, 0], [0.9, 0], [np.nan, 1]]
    chosen = choose(view_of(points, [0.5, 1.0, 0.4, np.nan, 0.3]), 1)
    assert chosen.indices.tolist() == [0]
    assert chosen.excluded == {
        "embedding is not finite": 1, "embedding has length 0": 1,
        "ratio of perplexities is not finite": 1, "ratio of perplexities is 1 or more": 1,
    }  # fmt: skip
    with pytest.raises(BudgetError, match="only 1 are eligible"):
        choose(view_of(points, [0.5, 1.0, 0.4, np.nan, 0.3]), 2)
    assert len(choose(view_of([[1, 0]], [0.5]), None)) == 1  # int(1 * 0.4) is none


@pytest.mark.parametrize("budget", [None, 1])
def test_a_pool_without_an_ifd_below_one_is_an_error_that_says_so(budget):
    view = view_of([[1, 0], [1, 0.1], [0, 1]], [1.5, 1.0, np.nan])
    with pytest.raises(
        ConfigError, match=r"IFD is below 1, and none of 3 has one: .*another --model"
    ):
        choose(view, budget)


def test_what_it_needs_and_what_it_refuses():
    needs = CDAS().requires()
    assert needs["ifd"] == Need("ifd", "target", {"variant": "codeact"})
    question = {"part": "prompt", "normalize": True}
    assert needs["question"] == Need("sentence-embedding", "encoder", question)
    assert CDAS(embedding="mine").requires()["mine"] == Need(None)
    with pytest.raises(ConfigError, match=r"cdas\.ratio=0 is a share of each cluster"):
        CDAS(ratio=0.0)
    with pytest.raises(ConfigError, match=r"cdas\.n_clusters must be at least 1, got 0"):
        CDAS(n_clusters=0)
    with pytest.raises(ConfigError, match=r"cdas\.embedding is empty"):
        CDAS(embedding=" ")
