"""faiss on GPUs, with a build for the CPU that says it has some: what is asked of it, and the same results."""

import sys

import numpy as np
import pytest

from curate.algorithms import faiss_index, kmeans, neighbours
from curate.algorithms.faiss_index import flat_index, n_cards, search
from curate.contracts.view import Vectors


@pytest.fixture
def cards(monkeypatch):
    """Two cards; returns the indexes that were put on them."""
    import faiss

    put = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(
        faiss, "index_cpu_to_all_gpus", lambda index, co=None, ngpu=-1: put.append(ngpu) or index
    )
    return put


def points(n, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_without_cards_or_faiss_the_cpu_is_used(monkeypatch):
    assert n_cards() == 0
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert n_cards() == 0


def test_an_index_goes_to_the_cards_unless_it_is_asked_for_too_many(cards):
    flat_index(points(5), 2_048)
    assert cards == [-1]
    index = flat_index(points(5), 2_049)
    assert cards == [-1]
    squared, nearest = search(index, points(5)[:1], 7)
    assert nearest[0, 0] == 0 and (nearest[0, 5:] == -1).all() and np.isinf(squared[0, 5:]).all()


def test_clusters_are_trained_and_assigned_on_the_cards(cards, monkeypatch):
    data = Vectors(points(300))
    found = kmeans.kmeans(data, 4, seed=1)
    assert cards == [2]
    codes, _ = kmeans.nearest_centroids(data, found.centroids, 2)
    assert cards == [2, -1]
    monkeypatch.setattr(kmeans, "n_cards", lambda: 0)
    alone = kmeans.kmeans(data, 4, seed=1)
    np.testing.assert_array_equal(found.codes, alone.codes)
    np.testing.assert_array_equal(codes[:, 0], alone.codes)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("room", [10**9, 1_500])
def test_neighbours_are_the_same_on_cards(cards, monkeypatch, unit, room):
    data = points(700)
    data[5] = data[600] = data[20]
    data[33] = np.nan
    data[44] = 0
    distance = neighbours.neighbour_distance(Vectors(data), 3, unit=unit, block=64)
    rows, far = neighbours.nearest_neighbours(Vectors(data), 4, unit=unit, block=64)
    assert not cards
    monkeypatch.setattr(neighbours, "CARD_WORTH", 100)
    monkeypatch.setattr(neighbours, "CARD_ELEMENTS", room)
    found = neighbours.neighbour_distance(Vectors(data), 3, unit=unit, block=64)
    np.testing.assert_array_equal(found, distance)
    on_cards, apart = neighbours.nearest_neighbours(Vectors(data), 4, unit=unit, block=64)
    np.testing.assert_array_equal(apart, far)
    np.testing.assert_array_equal(on_cards, rows)
    assert len(cards) == (2 if room > 10**8 else 6)


def test_the_message_says_what_needs_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        faiss_index.MissingPackageError, match="^a search for neighbours needs faiss"
    ):
        flat_index(points(3), 1)
