"""The comparison on planted noise: what is planted, and how it is measured."""

import numpy as np
import polars as pl
import pytest

from curate.errors import ConfigError
from jobs.compare.noise_auroc import auroc, interval, plant, spearman


def rows(*responses):
    n = len(responses)
    return pl.DataFrame(
        {"id": [str(i) for i in range(n)], "prompt": ["?"] * n, "response": list(responses)}
    )


def test_a_share_of_the_rows_gets_the_response_of_another():
    before = rows(*["yes", "no", "Yes ", "4", "5"] * 20)
    after = plant(before, 0.2, 3)
    planted = after["planted"].to_numpy()
    assert planted.sum() == 20
    plain = [[t.strip().casefold() for t in f["response"]] for f in (before, after)]
    changed = np.array([a != b for a, b in zip(*plain, strict=True)])
    assert (changed == planted).all()
    assert sorted(before["response"]) == sorted(after["response"])
    assert plant(before, 0.2, 3).equals(after) and not plant(before, 0.2, 4).equals(after)


def test_equal_responses_cannot_be_swapped():
    with pytest.raises(ConfigError, match="2 responses cannot be swapped"):
        plant(rows("yes", "yes"), 1.0, 0)


def test_the_area_is_that_of_the_library_with_ties_and_weights():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, size=200) / 8
    planted = rng.random(200) < 0.3
    weights = rng.integers(0, 3, size=200).astype(float)
    wanted = roc_auc_score(~planted, values, sample_weight=weights)
    assert auroc(values, planted, weights) == pytest.approx(wanted)
    assert auroc(-planted.astype(float), planted, np.ones(200)) == 1.0


def test_the_interval_holds_the_area_and_repeats():
    rng = np.random.default_rng(1)
    planted = rng.random(300) < 0.2
    values = rng.normal(size=300) - planted
    low, high = interval(values, planted, 0)
    assert low < auroc(values, planted, np.ones(300)) < high
    assert 0.05 < high - low < 0.2 and interval(values, planted, 0) == (low, high)


def test_rank_correlation():
    lengths = np.array([1, 2, 3, 3])
    assert spearman(np.array([0.1, 0.2, 0.9, 0.9]), lengths) == pytest.approx(1)
    assert spearman(np.array([4.0, 3.0, 2.0, 2.0]), lengths) == pytest.approx(-1)
