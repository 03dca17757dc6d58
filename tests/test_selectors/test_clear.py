import math

import numpy as np
import pytest

from curate.contracts import Budget, View
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_selector
from curate.select.choose import choose

Clear = get_selector("clear")
DROPS = "the median drops half by construction, clean or not"


def pool(confidence, method="nli", mass=0.9) -> View:
    n = len(confidence)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {
            "confidence.confidence": np.array(confidence, dtype=float),
            "confidence.reflection_mass": np.full(n, mass),
            "confidence.method": np.array([method] * n, dtype=object),
        },
    )


def chosen(view, budget=None, **fields):
    return Clear(**fields).select(view, budget, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("confidence", "kept"),
    [
        ([0.1, 0.9, 0.5, 0.7], [1, 3]),  # median 0.6
        ([0.1, 0.9, 0.5], [1]),  # median 0.5 itself is not above
        ([0.5, 0.5, 0.5, 0.9], [3]),  # ties at the median go, and with them more than half
        ([0.5, 0.5, 0.4, 0.9, 0.9], [3, 4]),
    ],
)
def test_strictly_above_the_median(confidence, kept):
    found = chosen(pool(confidence))
    assert found.indices.tolist() == kept
    assert found.gains.tolist() == [confidence[row] for row in kept]


def test_the_median_and_its_ties_are_said_aloud():
    first, second = chosen(pool([0.5, 0.5, 0.5, 0.9])).warnings
    assert first == f"kept 1 of 4 examples: {DROPS}"
    assert second.startswith(
        "3 examples tie at the median 0.5000 and were dropped; clear.keep_fraction"
    )
    assert chosen(pool([0.1, 0.9])).warnings == (f"kept 1 of 2 examples: {DROPS}",)


def test_nothing_lies_above_the_median_of_equal_scores():
    with pytest.raises(
        BudgetError, match="none of 3 confidences lies above their median.*--budget 50%"
    ):
        chosen(pool([0.5, 0.5, 0.5]))


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.5, [1, 0]), (0.25, [1]), (0.75, [1, 0, 2]), (1.0, [1, 0, 2, 3]), (0.01, [1])],
)
def test_a_share_is_kept_exactly_ties_by_id(share, kept):
    found = chosen(pool([0.5, 0.9, 0.5, 0.5]), keep_fraction=share)
    assert found.indices.tolist() == kept and found.warnings == ()


def test_a_budget_takes_the_highest():
    view = pool([0.1, 0.9, 0.5, 0.7])
    assert chosen(view, Budget(3)).indices.tolist() == [1, 3, 2]
    assert chosen(view, Budget(0.25, "share")).indices.tolist() == [1]
    assert chosen(view, Budget(2)).reasons == ["confidence 0.9000", "confidence 0.7000"]
    with pytest.raises(ConfigError, match="keep_fraction=0.5 and budget 2 both say"):
        chosen(view, Budget(2), keep_fraction=0.5)


def test_undefined_confidences_are_left_out_of_the_median_and_counted():
    found = chosen(pool([math.nan, 0.9, 0.5, math.nan]))
    assert found.indices.tolist() == [1] and found.excluded == {"confidence is not finite": 2}


def test_fallbacks_and_prompts_that_do_not_fit_are_named():
    embed = chosen(pool([0.1, 0.9], "embed"), Budget(1)).warnings
    assert embed == (
        "consistency is similarity of embeddings, which does not see contradiction, not the published NLI",
    )
    [one, two] = chosen(pool([0.1, 0.9], "likelihood", 0.2), Budget(1)).warnings
    assert "without sampled answers" in one
    assert two.startswith("the letters of the reflection carry 0.20 of the probability")


def test_forced_picks_join_the_upper_half():
    view = pool([0.1, 0.9, 0.5, 0.7])
    found = choose(Clear(), view, None, 0, include=["0" * 32])
    assert found.indices.tolist() == [0, 1, 3]


def test_what_it_reads_and_what_it_refuses():
    need = Clear(consistency="embed").requires()["confidence"]
    assert (need.scorer, need.config) == ("confidence", {"consistency": "embed"})
    with pytest.raises(
        ConfigError, match="clear.keep_fraction is a share above 0 and up to 1, got 0"
    ):
        build(Clear, {"keep_fraction": "0"})
    assert "always drops half" in Clear.experimental
