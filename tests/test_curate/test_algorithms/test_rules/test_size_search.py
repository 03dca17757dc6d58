import math
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.rules.size_search import SizeSearch, log_spaced
from curate.errors import ConfigError, MissingPackageError, TrainError


def two_valleys(n):
    """Double descent: a shallow valley at about 600 and the deep one at 2,532."""
    return min((math.log(n / 2532)) ** 2, 0.05 + (math.log(n / 600)) ** 2)


class Counted:
    """An objective that remembers what it was asked."""

    def __init__(self, objective):
        self.objective, self.asked = objective, []

    def __call__(self, n):
        self.asked.append(n)
        return self.objective(n)


# The grid ----------------------------------------------------------------------------------------


def test_the_grid_is_logarithmic_and_refined_around_its_best():
    objective = Counted(lambda n: (math.log(n / 1000)) ** 2)
    best = SizeSearch(100, 10_000, 8, "grid").run(objective)
    assert objective.asked == [100, 316, 1000, 3162, 10_000, 562, 1468, 2154]
    assert (best.n, best.loss) == (1000, 0.0)
    assert [n for n, _ in best.trials] == objective.asked


def test_the_grid_finds_the_deeper_of_two_valleys():
    best = SizeSearch(256, 10_000, 16, "grid").run(two_valleys)
    assert 2200 < best.n < 2900 and best.loss < 0.02


@pytest.mark.parametrize(("objective", "end"), [(lambda n: n, 256), (lambda n: -n, 10_000)])
def test_the_best_may_lie_at_either_end(objective, end):
    search = SizeSearch(256, 10_000, 10, "grid")
    asked = Counted(objective)
    assert search.run(asked).n == end
    assert len(asked.asked) == 10


@given(st.integers(1, 500), st.integers(1, 2_000), st.integers(2, 30), st.randoms())
def test_every_size_is_tried_once_and_inside_the_bounds(low, width, max_trials, random):
    objective = Counted(lambda n: random.random())
    best = SizeSearch(low, low + width, max_trials, "grid").run(objective)
    assert len(set(objective.asked)) == len(objective.asked) <= max_trials
    assert all(low <= n <= low + width for n in objective.asked)
    assert best.loss == min(loss for _, loss in best.trials)


def test_equal_losses_go_to_the_smaller_size():
    assert SizeSearch(256, 10_000, 6, "grid").run(lambda n: 1.0).n == 256


def test_losses_may_be_given_one_by_one():
    """As a procedure does, which trains between two questions and resumes by replay."""
    steps = SizeSearch(100, 10_000, 8, "grid").sizes()
    size, asked = next(steps), []
    with pytest.raises(StopIteration) as done:
        while True:
            asked.append(size)
            size = steps.send(two_valleys(size))
    assert done.value.value == SizeSearch(100, 10_000, 8, "grid").run(two_valleys)


def test_log_spaced_is_whole_distinct_and_has_both_ends():
    assert log_spaced(1, 4, 10) == [1, 2, 3, 4]
    assert log_spaced(7, 7, 5) == [7]


# BlendSearch, by FLAML where it is installed and by a stand-in that speaks its protocol -----------


class FakeBlendSearch:
    """Proposes a fixed list, with a repeat and a refusal, and records what it is told."""

    made = None

    def __init__(self, **settings):
        self.settings, self.told = settings, []
        self.proposals = [{"n": 256}, None, {"n": 400}, {"n": 256}, {"n": 900}, {"n": 5000}]
        type(self).made = self

    def suggest(self, trial):
        return self.proposals.pop(0) if self.proposals else None

    def on_trial_complete(self, trial, result):
        self.told.append((result["config"]["n"], result["loss"], result["cost"]))


@pytest.fixture
def fake_flaml(monkeypatch):
    module = types.ModuleType("flaml")
    module.BlendSearch = FakeBlendSearch
    module.tune = types.SimpleNamespace(lograndint=lambda low, high: (low, high))
    monkeypatch.setitem(sys.modules, "flaml", module)
    monkeypatch.setattr("curate.algorithms.rules.size_search.find_spec", lambda name: object())


def test_blendsearch_is_asked_and_told_and_a_known_size_is_not_tried_again(fake_flaml):
    objective = Counted(two_valleys)
    best = SizeSearch(256, 9_000, 16, seed=3).run(objective)
    assert objective.asked == [256, 400, 900, 5000] and best.n == 900
    told = FakeBlendSearch.made.told
    assert [n for n, _, _ in told] == [256, 400, 256, 900, 5000]
    assert told[0] == told[2] == (256, two_valleys(256), 256)
    settings = FakeBlendSearch.made.settings
    assert settings["space"] == {"n": (256, 9_001)}
    assert settings["low_cost_partial_config"] == {"n": 256}
    assert (settings["mode"], settings["cost_attr"], settings["seed"]) == ("min", "cost", 3)


def test_blendsearch_stops_at_the_number_of_trials(fake_flaml):
    objective = Counted(two_valleys)
    SizeSearch(256, 9_000, 2).run(objective)
    assert objective.asked == [256, 400]


def test_blendsearch_of_flaml_starts_cheap_repeats_itself_and_gets_near():
    pytest.importorskip("flaml")
    pytest.importorskip("optuna")
    objective = Counted(lambda n: (math.log(n / 2532)) ** 2)
    best = SizeSearch(256, 10_000, 16).run(objective)
    assert objective.asked[0] == 256 and len(set(objective.asked)) == len(objective.asked) == 16
    assert best.loss < 0.2
    assert SizeSearch(256, 10_000, 16).run(objective.objective) == best


@pytest.mark.parametrize("absent", ["flaml", "optuna"])
def test_without_flaml_nothing_else_is_searched(monkeypatch, absent):
    found = {"flaml": object(), "optuna": object()} | {absent: None}
    monkeypatch.setattr("curate.algorithms.rules.size_search.find_spec", found.get)
    with pytest.raises(MissingPackageError) as caught:
        SizeSearch(256, 10_000).run(two_valleys)
    assert str(caught.value) == (
        f"search 'blendsearch' needs the package {absent}; type: pip install "
        "'curate-sft[search]', or choose search 'grid', which needs none"
    )


# Bounds and losses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": 5, "high": 5}, "between 5 and 5 examples cannot be searched for; give 1 <= low"),
        ({"low": 0, "high": 5}, "between 0 and 5"),
        ({"low": 1, "high": 5, "max_trials": 1}, "max_trials must be at least 2, got 1; try 16"),
        ({"low": 1, "high": 5, "seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        SizeSearch(**settings)


def test_a_run_that_diverged_is_the_worst_and_not_the_end():
    best = SizeSearch(256, 10_000, 10, "grid").run(
        lambda n: math.inf if n > 3_000 else two_valleys(n)
    )
    assert 2_000 < best.n <= 3_000
    with pytest.raises(TrainError, match="every one of 10 sizes gave an infinite loss"):
        SizeSearch(256, 10_000, 10, "grid").run(lambda n: math.inf)


def test_a_loss_that_is_no_number_ends_the_search():
    with pytest.raises(TrainError, match="the run on 256 examples has a loss that is not a number"):
        SizeSearch(256, 10_000, 10, "grid").run(lambda n: math.nan)
