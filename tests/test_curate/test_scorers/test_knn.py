import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.algorithms.neighbours import nearest_neighbours, neighbour_distance
from curate.contracts import Example, Vectors, View
from curate.errors import ConfigError
from curate.scorers.knn import KNN


def brute(points, i):
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, i - 1]


@pytest.mark.parametrize("i", [1, 3, 6])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_distances_are_those_of_brute_force(i, block):
    points = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    found = neighbour_distance(Vectors(points), i, block=block)
    np.testing.assert_allclose(found, brute(points.astype(np.float64), i), rtol=1e-9)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_neighbours_are_those_of_brute_force(block):
    points = np.random.default_rng(6).normal(size=(100, 5)).astype(np.float32)
    rows, distances = nearest_neighbours(Vectors(points), 6, block=block)
    exact = points.astype(np.float64)
    apart = np.linalg.norm(exact[:, None] - exact[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert rows.tolist() == np.argsort(apart, axis=1)[:, :6].tolist()
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :6], rtol=1e-9)


def test_rows_without_neighbours_say_so():
    points = np.array([[0.0], [2.0], [np.nan], [1.0]])
    rows, distances = nearest_neighbours(Vectors(points), 3)
    assert rows.tolist() == [[3, 1, -1], [3, 0, -1], [-1, -1, -1], [0, 1, -1]]
    assert distances[:, 2].tolist() == [np.inf] * 4
    assert nearest_neighbours(Vectors(points[:1]), 0)[0].shape == (1, 0)


def test_duplicates_are_neighbours_at_distance_zero():
    points = np.array([[1.0, 2.0]] * 3 + [[4.0, 6.0]])
    assert neighbour_distance(Vectors(points), 2).tolist() == [0.0, 0.0, 0.0, 5.0]


@pytest.mark.parametrize("unit", [False, True])
def test_duplicates_anywhere_in_the_pool_are_at_distance_zero_exactly(unit):
    """Also where no sum of squares is exact, and where there are more of them than candidates."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(60, 33)).astype(np.float32)
    points[rng.permutation(60)[:25]] = points[7]
    twins = (points == points[7]).all(axis=1)
    found = neighbour_distance(Vectors(points), 6, unit=unit, block=16)
    assert (found[twins] == 0).all() and (found[~twins] > 0.1).all()


def test_itself_is_no_neighbour():
    assert neighbour_distance(Vectors(np.eye(5)), 1) == pytest.approx(np.full(5, 2**0.5))


@pytest.mark.parametrize("unit", [False, True])
def test_vectors_close_together_and_far_from_the_origin_keep_their_order(unit):
    """As hidden states often lie: rounding of |x|^2 is larger than the distances."""
    rng = np.random.default_rng(3)
    points = (100 + rng.normal(size=(300, 24))).astype(np.float32)
    exact = points.astype(np.float64)
    exact = exact / np.linalg.norm(exact, axis=1, keepdims=True) if unit else exact
    found = neighbour_distance(Vectors(points), 6, unit=unit, block=64)
    np.testing.assert_allclose(found, brute(exact, 6), rtol=1e-6)


def test_a_pool_in_order_of_distance_is_no_special_case():
    points = np.linspace(0, 1, 500)[::-1, None] ** 3 * np.ones((1, 3))
    found = neighbour_distance(Vectors(points), 4, block=32)
    np.testing.assert_allclose(found, brute(points, 4), rtol=1e-9)


@pytest.mark.parametrize("unit", [False, True])
def test_tight_clusters_are_told_apart_below_single_precision(unit):
    rng = np.random.default_rng(5)
    centres = np.eye(3, 8)[rng.integers(0, 3, 150)] * 3
    points = centres + rng.normal(scale=1e-7, size=(150, 8))
    found = neighbour_distance(Vectors(points), 6, unit=unit, block=32)
    exact = points / np.linalg.norm(points, axis=1, keepdims=True) if unit else points
    np.testing.assert_allclose(found, brute(exact, 6), rtol=1e-6)
    assert found.max() < 1e-6


@pytest.mark.parametrize("block", [4, 64])
def test_broken_vectors_fail_and_are_nobodys_neighbour(block):
    points = np.random.default_rng(4).normal(size=(40, 5)) + 3
    broken = points.copy()
    broken[[3, 20]], broken[11] = np.nan, 0
    fine = np.setdiff1d(np.arange(40), [3, 11, 20])
    found = neighbour_distance(Vectors(broken), 6, unit=True, block=block)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 11, 20]
    wanted = neighbour_distance(Vectors(points[fine]), 6, unit=True)
    np.testing.assert_allclose(found[fine], wanted, rtol=1e-12)


def test_a_pool_with_too_few_usable_vectors_has_no_such_neighbour():
    points = np.eye(6)
    points[2:] = np.nan
    assert np.isnan(neighbour_distance(Vectors(points), 2)).all()
    assert np.isfinite(neighbour_distance(Vectors(points), 1)[:2]).all()


def test_cosine_is_one_minus_the_cosine():
    points = np.random.default_rng(1).normal(size=(30, 4))
    view = View(np.arange(30), vectors_by_column={"embedding.vector": Vectors(points)})
    found = KNN(i=2, metric="cosine").run(view, "cpu")["distance"]
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    wanted = 1 - np.sort(unit @ unit.T - 3 * np.eye(30), axis=1)[:, -2]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_real_rows_by_the_small_model_agree_with_a_sort(realdata, realmodel):
    from curate.models.load import load_model, resolve_model
    from curate.models.passes.forward import Forward, PassRequest
    from curate.models.text.render import Renderer
    from curate.scorers.embedding import Embedding

    table = pq.read_table(realdata / "dolly_15k.parquet", columns=["prompt", "response"])
    examples = [
        Example(
            f"{number:032x}",
            (
                {"role": "user", "content": row["prompt"][:80]},
                {"role": "assistant", "content": row["response"][:80] or "-"},
            ),
        )
        for number, row in enumerate(table.slice(0, 24).to_pylist())
    ]
    model = load_model(resolve_model(str(realmodel)), "cpu", "float32")
    [segment] = Embedding().segments()
    rows = Renderer(model.tokenizer, 1024).render(examples, segment.rendering)
    measured = dict(Forward(model).run(rows, PassRequest.of([Embedding()])))
    stats = [measured[n].stats(Embedding(), None) for n in range(len(rows))]
    vectors = np.stack([Embedding().reduce({"full": one})["vector"] for one in stats])
    view = View(np.arange(24), vectors_by_column={"embedding.vector": Vectors(vectors)})
    found = KNN(metric="cosine").run(view, "cpu")["distance"]
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = np.sort(unit @ unit.T - 3 * np.eye(24), axis=1)
    np.testing.assert_allclose(found, 1 - cosines[:, -6], rtol=1e-9, atol=1e-12)


def test_a_small_pool_has_no_such_neighbour():
    assert np.isnan(neighbour_distance(Vectors(np.eye(3)), 3)).all()


def test_neighbours_count_from_one():
    with pytest.raises(ConfigError, match="counts neighbours from 1, got 0; try 6"):
        KNN(i=0)
