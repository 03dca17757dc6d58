import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, Need, View
from curate.errors import BudgetError
from curate.registry import get_scorer, get_selector

IFD = get_selector("ifd")


def pool(loss: list[float], ppl: list[float] | None = None, truncated: list[bool] | None = None):
    n = len(loss)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {
            "ifd.ratio_loss": np.array(loss),
            "ifd.ratio_ppl": np.array(loss if ppl is None else ppl),
            "ifd.truncated": np.array(truncated or [False] * n),
        },
    )


def select(variant: str, view: View, k: int):
    return IFD(variant).select(view, Budget(k), np.random.default_rng(0))


def test_highest_ratio_first():
    chosen = select("cherry", pool([0.3, 0.9, 0.5]), 3)
    assert chosen.indices.tolist() == [1, 2, 0]
    assert chosen.gains.tolist() == [0.9, 0.5, 0.3]
    assert chosen.reasons[0] == "cherry ratio of losses 0.9000"


def test_ratio_of_one_is_kept_by_cherry_and_dropped_by_the_others():
    view = pool([1.0, 0.9, 1.0 + 1e-12])
    assert select("cherry", view, 2).indices.tolist() == [0, 1]
    assert select("cherry", view, 1).excluded == {"ratio of losses is above 1": 1}
    for variant in ("superfiltering", "codeact"):
        assert select(variant, view, 1).indices.tolist() == [1]
        assert select(variant, view, 1).excluded == {"ratio of perplexities is 1 or more": 2}


def test_variants_read_their_own_ratio():
    view = pool(loss=[0.9, 0.1], ppl=[0.2, 0.8])
    assert select("cherry", view, 1).indices.tolist() == [0]
    assert select("superfiltering", view, 1).indices.tolist() == [1]
    assert select("codeact", view, 1).indices.tolist() == [1]


def test_excluded_rows_are_counted_once_by_their_first_reason():
    view = pool([math.nan, 1.5, 0.5, math.inf, 2.0], truncated=[True, True, False, False, False])
    assert select("cherry", view, 1).excluded == {
        "ratio of losses is not finite": 2,
        "truncated": 1,
        "ratio of losses is above 1": 1,
    }


def test_budget_over_what_passes_the_filter_says_why():
    with pytest.raises(BudgetError) as caught:
        select("cherry", pool([0.5, 1.5, 1.7]), 2)
    assert str(caught.value) == (
        "budget 2 asks for 2 examples, but only 1 are eligible (3 in the pool; excluded: "
        "2 ratio of losses is above 1); give at most --budget 1"
    )


def test_needs_name_the_variant_and_superfiltering_runs_a_proxy():
    assert IFD("cherry").requires() == {"ifd": Need("ifd", "target", {"variant": "cherry"})}
    assert IFD("codeact").requires()["ifd"].role == "target"
    assert IFD("superfiltering").requires()["ifd"].role == "proxy"


def test_scorer_writes_what_the_selector_reads():
    assert {"ratio_loss", "ratio_ppl", "truncated"} <= set(get_scorer("ifd").outputs)


RATIOS = st.sampled_from([0.2, 0.5, 0.999, 1.0, 1.001, 3.0, math.nan])


@given(st.lists(st.tuples(RATIOS, st.booleans()), min_size=1, max_size=12))
def test_agrees_with_filtering_and_sorting(rows):
    ratios, truncated = [ratio for ratio, _ in rows], [cut for _, cut in rows]
    for variant, passes in (("cherry", lambda r: r <= 1), ("codeact", lambda r: r < 1)):
        kept = [row for row, (ratio, cut) in enumerate(rows) if passes(ratio) and not cut]
        expected = sorted(kept, key=lambda row: (-ratios[row], row))
        if not expected:
            continue
        chosen = select(variant, pool(ratios, truncated=truncated), len(expected))
        assert chosen.indices.tolist() == expected
        assert sum(chosen.excluded.values()) == len(rows) - len(expected)
