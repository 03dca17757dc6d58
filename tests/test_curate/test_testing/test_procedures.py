from dataclasses import dataclass
from typing import ClassVar

import pytest

from curate.contracts import TARGET_SET, Outcome, Procedure, Score, Select, Train
from curate.testing import ContractError, check_procedure


@dataclass(frozen=True)
class Twice(Procedure):
    """Scores, then selects."""

    name: ClassVar[str] = "twice"

    def run(self, budget, seed):
        yield Score("length")
        chosen = yield Select("longest", str(budget), {}, None, seed)
        return Outcome(chosen.id)


def test_good_procedure_passes():
    check_procedure(Twice())


def counting():
    calls = iter(range(100))

    def run(self, budget, seed):
        chosen = yield Select("longest", str(next(calls) + 1), {}, None, seed)
        return Outcome(chosen.id)

    return run


def ending(value):
    def run(self, budget, seed):
        yield Select("longest", str(budget), {}, None, seed)
        return value

    return run


def yielding(step):
    def run(self, budget, seed):
        chosen = yield step
        return Outcome(chosen.id)

    return run


def scoring(step):
    def run(self, budget, seed):
        yield step
        chosen = yield Select("longest", str(budget), {}, None, seed)
        return Outcome(chosen.id)

    return run


def training(settings, selection=None):
    def run(self, budget, seed):
        chosen = yield Select("longest", str(budget), {}, None, seed)
        yield Train(selection or chosen.id, settings)
        return Outcome(chosen.id)

    return run


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (counting(), "is not deterministic"),
        (ending(None), "ended with None; end run\\(\\) with return Outcome"),
        (ending(Outcome("invented")), "selection 'invented', which no step of it made"),
        (yielding("select"), "is not a step; yield one of: Select"),
        (yielding(Select("longest", "5", {"a": {1, 2}})), "cannot be written as JSON"),
        (yielding(Select("longset", "5")), "cannot be executed: no method 'longset'"),
        (training({"objective": "dtf"}), "cannot be executed: no objective 'dtf'"),
        (
            training({"policy.k": 2}),
            "cannot be executed: policy.k is a setting of drop",
        ),
        (yielding(Select("longest", "5", {}, "nowhere")), "selects within 'nowhere'"),
        (scoring(Score("length", model="gone")), "scores with model 'gone'"),
        (training({}, TARGET_SET), "trains on the target set, but its uses_target is False"),
    ],
)
def test_broken_procedure_is_found(run, message, monkeypatch):
    monkeypatch.setattr(Twice, "run", run)
    with pytest.raises(ContractError, match=message):
        check_procedure(Twice())


def test_procedure_without_steps_is_found(monkeypatch):
    def run(self, budget, seed):
        return Outcome("x")
        yield

    monkeypatch.setattr(Twice, "run", run)
    with pytest.raises(ContractError, match="takes no step"):
        check_procedure(Twice())
