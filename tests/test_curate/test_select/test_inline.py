"""Which functions are one method: those that compute the same from the same values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from curate.select.inline import _hash_of

Picks = Callable[[Any, Any, Any], Any]


def first(n: int) -> Picks:
    def pick(view: Any, budget: Any, rng: Any) -> Any:
        return np.arange(n)

    return pick


def take(view: Any, budget: Any, rng: Any, n: int = 1) -> Any:
    return np.arange(n)


class Taking:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, view: Any, budget: Any, rng: Any) -> Any:
        return np.arange(self.n)


def test_what_a_function_takes_from_around_it_makes_it_another() -> None:
    assert _hash_of(first(1)) == _hash_of(first(1)) != _hash_of(first(2))
    weights = np.ones(3)
    assert _hash_of(first(weights)) != _hash_of(first(weights + 1))  # type: ignore[arg-type]


def test_partial_functions_and_objects_are_known_by_their_values_not_their_place_in_memory() -> (
    None
):
    assert (
        _hash_of(partial(take, n=2)) == _hash_of(partial(take, n=2)) != _hash_of(partial(take, n=3))
    )
    assert _hash_of(Taking(2)) == _hash_of(Taking(2)) != _hash_of(Taking(3))
