import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from curate.contracts import (
    Budget,
    Column,
    Expression,
    Need,
    Selection,
    Selector,
    fit_size,
    keep_within,
)
from curate.errors import BudgetError
from curate.testing import ContractError, check_selector


@dataclass(frozen=True)
class Good(Selector):
    """Ranks by one score."""

    name: ClassVar[str] = "good"

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"quality": Expression("quality.score")}

    def select(self, view, budget, rng) -> Selection:
        values = view.scores("quality")
        scored = np.flatnonzero(np.isfinite(values))
        ranking = scored[np.argsort(-values[scored], kind="stable")]
        n_missing = len(view) - len(scored)
        excluded = {"no score": n_missing} if n_missing else {}
        counted = replace(view, excluded={**view.excluded, **excluded})
        picks = keep_within(ranking, budget, counted)
        return Selection(picks, values[picks], None, ["chosen"] * len(picks), excluded)


def test_good_selector_passes():
    check_selector(Good())


@dataclass(frozen=True)
class SizeDependent(Selector):
    """Takes every so many examples, so its picks depend on how many are asked for."""

    name: ClassVar[str] = "size-dependent"
    nested: ClassVar[bool] = False

    def requires(self) -> Mapping[str, Need | Expression]:
        return {}

    def select(self, view, budget, rng) -> Selection:
        order = np.argsort(view.tokens if view.tokens is not None else view.ids, kind="stable")
        return Selection(fit_size(lambda n: order[:n][::-1].copy(), budget, view))


def test_selector_whose_picks_depend_on_the_size_passes_when_it_says_so(monkeypatch):
    check_selector(SizeDependent())
    monkeypatch.setattr(SizeDependent, "nested", True)
    with pytest.raises(ContractError, match="are not the first .* declare nested = False"):
        check_selector(SizeDependent())


def one_too_many(view, budget, rng, good):
    try:
        return good.select(view, Budget(len(good.select(view, budget, rng)) + 1), rng)
    except BudgetError:
        return good.select(view, budget, rng)


def clipped(view, budget, rng, good):
    try:
        return good.select(view, budget, rng)
    except BudgetError:
        return good.select(view, None, rng)


def unseeded(view, budget, rng, good):
    chosen = good.select(view, None, rng)
    shuffled = np.random.default_rng().permutation(chosen.indices)
    return replace(chosen, indices=keep_within(shuffled, budget, view), gains=None, reasons=None)


def globally_random(view, budget, rng, good):
    np.random.rand()
    return good.select(view, budget, rng)


def picks_nan(view, budget, rng, good):
    order = np.argsort(-view.scores("quality"), kind="stable")
    return Selection(keep_within(order, budget, view))


def forged(value, **attributes):
    """Copy a frozen dataclass and change it without the type checks tests run under."""
    made = copy.copy(value)
    for name, attribute in attributes.items():
        object.__setattr__(made, name, attribute)
    return made


def altered(**changes):
    def select(view, budget, rng, good):
        chosen = good.select(view, budget, rng)
        return forged(chosen, **{name: change(chosen) for name, change in changes.items()})

    return select


def stops_early_on_tokens(view, budget, rng, good):
    chosen = good.select(view, budget, rng)
    if not budget or not budget.counts_tokens or len(chosen) < 2:
        return chosen
    return good.select(view, Budget(len(chosen) - 1), rng)


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (one_too_many, "returns 2 examples for budget 1"),
        (clipped, "accepts budget .* although only .* are eligible; raise BudgetError"),
        (unseeded, "are not the first|two answers"),
        (globally_random, "uses numpy's global random state"),
        (picks_nan, "picks .* examples whose scores are all NaN"),
        (stops_early_on_tokens, "although one more fits"),
        (altered(indices=lambda s: s.indices * 0), "repeats a row"),
        (altered(indices=lambda s: s.indices + 1000), "returns rows outside 0"),
        (altered(indices=lambda s: s.indices * 1.0), "not a one-dimensional array of integers"),
        (altered(gains=lambda s: np.zeros(len(s) + 1)), "returns 2 gains for 1 picks"),
        (altered(gains=lambda s: np.full(len(s), np.nan)), "returns NaN gains"),
        (altered(weights=lambda s: np.full(len(s), -1.0)), "negative or infinite weights"),
        (altered(reasons=lambda s: ["only one"]), "returns 1 reasons for 2 picks"),
        (altered(reasons=lambda s: [""] * len(s)), "a reason that is empty or not text"),
        (altered(warnings=lambda s: "careful"), "warnings that are not a tuple of text"),
        (altered(excluded=lambda s: {"nothing": 0}), "leave out zeros"),
        (altered(excluded=lambda s: {"budget": len(s)}), "the budget must not change it"),
    ],
)
def test_broken_selection_is_found(select, message):
    @dataclass(frozen=True)
    class Broken(Selector):
        """Broken in one way."""

        name: ClassVar[str] = "broken"

        def requires(self) -> Mapping[str, Need | Expression]:
            return Good().requires()

        def select(self, view, budget, rng) -> Selection:
            return select(view, budget, rng, Good())

    with pytest.raises(ContractError, match=message):
        check_selector(picklable(Broken)())


def picklable(cls: type) -> type:
    """Let a class defined inside a test be found by name, as pickle does."""
    cls.__qualname__ = cls.__name__
    globals()[cls.__name__] = cls
    return cls


def test_writing_to_the_view_is_found(monkeypatch):
    select = Good.select

    def writing(self, view, budget, rng):
        view.columns["quality"].setflags(write=True)
        view.columns["quality"][:] += 1
        return replace(select(self, view, budget, rng), gains=None)

    monkeypatch.setattr(Good, "select", writing)
    with pytest.raises(ContractError, match="changes column 'quality' of its view"):
        check_selector(Good())
    monkeypatch.setattr(Good, "select", lambda self, view, *_: view.columns["quality"].sort())
    with pytest.raises(ValueError, match="read-only"):
        check_selector(Good())


def test_unhashable_configuration_is_found():
    @dataclass(frozen=True)
    class Unhashable(Good):
        """Holds a list."""

        weights: list[float] = field(default_factory=list)

    with pytest.raises(ContractError, match=r"is not hashable .*; use tuples in its fields"):
        check_selector(picklable(Unhashable)())


def test_need_of_an_unknown_scorer_or_setting_is_found():
    @dataclass(frozen=True)
    class Needy(Good):
        """Needs what it is told."""

        scorer: str = "likelihod"
        setting: str = "template"

        def requires(self) -> Mapping[str, Need | Expression]:
            return {"a": Need(self.scorer, config={self.setting: "plain"})}

    picklable(Needy)
    with pytest.raises(ValueError, match="no scorer 'likelihod'; did you mean 'likelihood'"):
        check_selector(Needy())
    with pytest.raises(ValueError, match="likelihood has no field 'tempalte'"):
        check_selector(Needy("likelihood", "tempalte"))


def test_columns_of_needs_without_a_scorer_are_given_by_the_caller():
    @dataclass(frozen=True)
    class ByAlias(Good):
        """Ranks by a column under an alias of the user's."""

        def requires(self) -> Mapping[str, Need | Expression]:
            return {"mine": Need(None)}

        def select(self, view, budget, rng) -> Selection:
            columns = {**view.columns, "quality": view.scores("mine.score")}
            return Good().select(replace(view, columns=columns), budget, rng)

    check_selector(picklable(ByAlias)(), {"mine.score": Column("float", "anything")})
