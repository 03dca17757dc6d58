import numpy as np
import pytest

from curate.contracts import SegmentStats
from curate.errors import ConfigError, ExampleFailure
from curate.scorers.donod import DONOD, change_of_norm


def stats(inner=-0.15536240, sq_norm=0.26810311):
    return {
        "full": SegmentStats(
            np.full(2, 0.8619948), np.zeros(2, bool), False, 3, np.full(2, 1.0173572),
            inner, sq_norm, 4.0,
        )
    }  # fmt: skip


def test_golden_numbers():
    value = DONOD(lr=0.1).reduce(stats())
    assert value["don"] == pytest.approx(0.00842065110, abs=1e-9)
    assert value["nod"] == pytest.approx(0.05177867392, abs=1e-9)
    assert value["nll_minus_entropy"] == pytest.approx(-0.15536240, abs=1e-7)
    assert value["grad_norm"] == pytest.approx(0.26810311**0.5)


def test_the_sign_is_a_choice():
    before, after = (
        DONOD(lr=0.1, don_sign=sign).reduce(stats())["don"]
        for sign in ("before_minus_after", "after_minus_before")
    )
    assert before == -after != 0


@pytest.mark.parametrize("lr", [1e-2, 1e-5, 1e-9, 1e-14])
def test_no_learning_rate_is_too_small(lr):
    """A difference of two norms would be rounding error, or zero."""
    don, nod = change_of_norm(0.9, 20.0, 13_000.0, lr)
    assert don == pytest.approx(lr * 0.9 / 13_000**0.5, rel=2 * lr * 20)
    assert nod == pytest.approx(lr * 20**0.5)


def test_the_ranking_does_not_depend_on_a_small_learning_rate():
    rng = np.random.default_rng(0)
    inner, sq_norm = rng.normal(size=300), rng.lognormal(3, 1, size=300)
    orders = []
    for lr in (1e-7, 1e-5, 1e-4):
        pairs = [change_of_norm(*row, 340.0**2, lr) for row in zip(inner, sq_norm, strict=True)]
        don, nod = np.array(pairs).T
        orders.append((np.argsort(nod).tolist(), np.sign(don).tolist()))
    assert orders[0] == orders[1]
    assert orders[0][0] == orders[2][0]


def test_nothing_scored_fails():
    with pytest.raises(ExampleFailure, match="no_scored_tokens"):
        DONOD().reduce(stats(inner=None, sq_norm=None))


def test_a_learning_rate_must_be_positive():
    with pytest.raises(ConfigError, match=r"donod.lr must be positive, got 0; try 1e-5"):
        DONOD(lr=0)
