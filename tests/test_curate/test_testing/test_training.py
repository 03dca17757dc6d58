"""Every registered objective, policy and mixture keeps its contract, and broken ones are found."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch

from curate.contracts import BatchPolicy, Loss, Mixture, Objective
from curate.registry import get, get_mixture, get_objective, get_policy, names
from curate.testing import (
    ContractError,
    check_mixture,
    check_objective,
    check_policy,
    variants,
)
from curate.train.steps.token_nll import token_nll

OBJECTIVES = [one for name in names("objective") for one in variants(get_objective(name))]
POLICIES = [one for name in names("policy") for one in variants(get_policy(name))]
MIXTURES = [one for name in names("mixture") for one in variants(get_mixture(name))]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_objective_keeps_the_contract(objective):
    check_objective(objective)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_policy_keeps_the_contract(policy):
    check_policy(policy)


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_mixture_keeps_the_contract(mixture):
    check_mixture(mixture)


def test_nothing_registered_is_left_out():
    checked = {("objective", one.name) for one in OBJECTIVES}
    checked |= {("policy", one.name) for one in POLICIES}
    checked |= {("mixture", one.name) for one in MIXTURES}
    kinds = ("objective", "policy", "mixture")
    assert checked == {(kind, name) for kind in kinds for name in names(kind)}
    assert all(get(kind, name).name == name for kind, name in checked)


# Objectives that break a promise -----------------------------------------------------------------


def objective(function, *, whole: bool = False) -> Objective:
    """Make an objective of a function of (nll, hidden, labels, weights)."""

    @dataclass(frozen=True)
    class Made(Objective):
        """Made up."""

        name: ClassVar[str] = "made"
        whole_examples: ClassVar[bool] = whole

        def loss(self, hidden, head, labels, weights):
            nll = token_nll(hidden, head, labels)
            made = function(nll, hidden, labels, weights)
            return made if isinstance(made, Loss) else Loss(made, nll.detach())

        def __reduce__(self):
            return "MADE"  # classes of a function do not pickle; copies are the same object

    made = Made()
    globals()["MADE"] = made
    return made


def mean_by_example(nll, hidden, labels, weights):
    """Sum over examples of the mean over their positions: a sum of whole examples only."""
    counts = torch.bincount(labels.owner).to(nll.dtype)
    return (nll * weights / counts[labels.owner]).sum()


def test_a_sum_over_whole_examples_passes():
    check_objective(objective(mean_by_example, whole=True))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda nll, *_: nll, "total of shape .11,.; it must be one number"),
        (lambda nll, h, labels, w: (nll * w).sum().detach(), "it must be one number with a gradient"),
        (lambda nll, h, labels, w: Loss((nll * w).sum(), nll), "one number a position, detached"),
        (lambda nll, h, labels, w: Loss((nll * w).sum(), nll.detach() + 1), "the plain NLL of each"),
        (lambda nll, h, labels, w: (nll * w).mean(), "not a sum over positions: cut inside an example"),
        (mean_by_example, "cut inside an example, the parts add up to another loss"),
        (lambda nll, *_: nll.sum(), "not in proportion to the training weights"),
        (lambda nll, h, labels, w: (nll * w.clamp(min=0.5)).sum(), "of training weight 0"),
        (lambda nll, h, labels, w: (nll * w).sum() * torch.rand(()), "when it is asked again"),
        (lambda nll, h, labels, w: (nll * w.mul_(2)).sum(), "changes what it is given"),
        (lambda nll, h, labels, w: (nll.exp() * w).sum(), "no probability, has a loss or a grad"),
        (lambda nll, h, labels, w: ((nll - nll.detach()).sqrt() * w).sum(), "is not finite"),
    ],
)  # fmt: skip
def test_a_broken_objective_is_found(function, message):
    with pytest.raises(ContractError, match=message):
        check_objective(objective(function))


# Policies that break a promise -------------------------------------------------------------------


@dataclass(frozen=True)
class Rotating(BatchPolicy):
    """Keeps half the rows, beginning one further each time; passes as it stands."""

    name: ClassVar[str] = "rotating"

    def size(self, n_candidates):
        return max(1, n_candidates // 2)

    def keep(self, stats, k, rng, state):
        state["turn"] += 1
        return (np.arange(k) + state["turn"]) % len(stats.ids)

    def initial_state(self):
        return {"turn": 0}


def test_a_policy_with_a_state_passes():
    check_policy(Rotating())


class Counter:
    turn = 0


SHARED = {"turn": 0}


def keep_by_global_state(self, stats, k, rng, state):
    Counter.turn += 1
    return (np.arange(k) + Counter.turn) % len(stats.ids)


def keep_by_int_keys(self, stats, k, rng, state):
    """Counts by row number; JSON turns the numbers into text, so a resumed run counts anew."""
    state.setdefault("seen", {})
    state["seen"][0] = state["seen"].get(0, 0) + 1
    return (np.arange(k) + state["seen"][0]) % len(stats.ids)


def keep_numpy_state(self, stats, k, rng, state):
    state["turn"] = np.int64(1)
    return np.arange(k)


def keep_and_sort(self, stats, k, rng, state):
    stats.losses.sort()
    return np.arange(k)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"size": lambda self, n: n // 2},
            "keeps 0 of 1 rows; it must be a whole number from 1 to 1",
        ),
        ({"size": lambda self, n: n + 1}, "keeps 2 of 1 rows"),
        ({"keep": lambda self, stats, k, rng, state: np.zeros(k, dtype=int)}, "must be distinct"),
        ({"keep": lambda self, stats, k, rng, state: np.arange(k + 1)}, "they must be 1 indices"),
        ({"keep": lambda self, stats, k, rng, state: np.arange(k) + 90}, "from 0 to 0"),
        ({"keep": lambda self, stats, k, rng, state: np.arange(k) / 1}, "type float64"),
        ({"keep": keep_by_global_state}, "keeps other rows when it is asked again"),
        ({"keep": keep_by_int_keys}, "keeps other rows when the run is resumed after batch 1"),
        ({"keep": keep_numpy_state}, "keeps a state that JSON does not hold"),
        ({"keep": keep_and_sort}, "changes what it is given"),
        ({"initial_state": lambda self: {"turn": {1}}}, "initial state that JSON does not hold"),
        ({"initial_state": lambda self: {"turn": (1,)}}, "JSON does not give back the same"),
        ({"initial_state": lambda self: SHARED}, "begins with what an earlier run left"),
    ],
)
def test_a_broken_policy_is_found(monkeypatch, changes, message):
    for name, function in changes.items():
        monkeypatch.setattr(Rotating, name, function)
    with pytest.raises(ContractError, match=message):
        check_policy(Rotating())


# Mixtures that break a promise -------------------------------------------------------------------


@dataclass(frozen=True)
class Alike(Mixture):
    """Every source the same; passes as it stands."""

    name: ClassVar[str] = "alike"
    every: ClassVar[int] = 10
    calls: list[int] = field(default_factory=list, hash=False, compare=False)

    def weights(self, step, losses):
        return dict.fromkeys(losses, 1.0)


def weigh_by_place(self, step, losses):
    return {source: 1.0 + place for place, source in enumerate(losses)}


def weigh_and_clear(self, step, losses):
    weights = dict.fromkeys(losses, 1.0)
    losses.clear()
    return weights


def test_a_good_mixture_passes():
    check_mixture(Alike())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 0}, "wants to be asked every 0 steps"),
        ({"every": 2.5}, "wants to be asked every 2.5 steps"),
        ({"weights": lambda self, step, losses: losses}, "finite, not negative and not all 0"),
        ({"weights": lambda self, step, losses: dict.fromkeys(losses, 0.0)}, "not all 0"),
        ({"weights": lambda self, step, losses: {"x": 1.0}}, r"weighs \['x'\]"),
        ({"weights": weigh_by_place}, "in another order"),
        ({"weights": weigh_and_clear}, "changes what it is given"),
    ],
)
def test_a_broken_mixture_is_found(monkeypatch, changes, message):
    for name, value in changes.items():
        monkeypatch.setattr(Alike, name, value)
    with pytest.raises(ContractError, match=message):
        check_mixture(Alike())
