from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.contracts import Expression, Need, Stat
from curate.registry import get_scorer
from curate.testing import synthetic_stats, synthetic_view, variants


def test_made_up_view_holds_what_is_required_and_refuses_writes():
    requires = {"likelihood": Need("likelihood"), "rank": Expression("a + b")}
    view = synthetic_view(requires, np.random.default_rng(0))
    declared = {f"likelihood.{name}" for name in get_scorer("likelihood").outputs}
    assert set(view.columns) == declared | {"rank"}
    assert not any(values.flags.writeable for values in view.columns.values())
    assert (np.sort(view.ids) == view.ids).all() and len(set(view.ids)) == len(view)
    assert np.bincount(view.groups).max() > 1


def test_made_up_statistics_are_those_asked_for():
    stats = synthetic_stats({Stat.NLL, Stat.MEAN_HIDDEN}, np.random.default_rng(0), 3)
    assert stats.entropy is None and stats.head_inner is None
    assert stats.mean_hidden is not None and stats.is_end.tolist() == [False, False, True]


def test_variants_reach_every_choice_and_fill_required_fields():
    @dataclass(frozen=True)
    class Config:
        needed: str
        which: Literal["a", "b"] = "a"
        flag: bool = True
        limit: int | None = None
        k: int = 1

    assert list(variants(Config)) == [
        Config("quality"),
        Config("quality", "b"),
        Config("quality", "a", False),
        Config("quality", "a", True, 2),
    ]
