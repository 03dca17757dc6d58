import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, View
from curate.errors import BudgetError
from curate.registry import get_selector

Uniform = get_selector("random")


def pool(n: int) -> View:
    return View(np.array([f"{row:032x}" for row in range(n)], dtype="S32"))


def picks(n: int, budget: str, seed: int = 0) -> list[int]:
    chosen = Uniform().select(pool(n), Budget.parse(budget), np.random.default_rng(seed))
    return chosen.indices.tolist()


@given(st.integers(1, 200), st.data(), st.integers(0, 99))
def test_larger_budget_contains_smaller_with_one_seed(n, data, seed):
    small, large = sorted(data.draw(st.tuples(*[st.integers(1, n)] * 2)))
    assert picks(n, str(large), seed)[:small] == picks(n, str(small), seed)


def test_whole_pool_is_a_permutation():
    assert sorted(picks(50, "100%")) == list(range(50))


def test_seeds_differ_and_repeat():
    assert picks(100, "50", seed=1) == picks(100, "50", seed=1) != picks(100, "50", seed=2)


def test_every_example_is_equally_likely():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[picks(10, "3", seed)] += 1
    assert abs(counts / 2000 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_reason_is_the_place_in_the_order():
    chosen = Uniform().select(pool(3), Budget(2), np.random.default_rng(0))
    assert chosen.reasons == ["place 1 of a uniform order", "place 2 of a uniform order"]
    assert chosen.gains is None and chosen.weights is None


def test_more_than_the_pool_is_an_error():
    with pytest.raises(BudgetError, match="asks for 4 examples, but only 3 are eligible"):
        picks(3, "4")
