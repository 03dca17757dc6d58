import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from curate.contracts import Budget, Outcome, Procedure, Result, Score, Select
from curate.errors import ProcedureError, StoreError
from curate.select.procedures.driver import run_procedure, step_to_json

TEN_PERCENT = Budget.parse("10%")


@dataclass(frozen=True)
class Rounds(Procedure):
    """Scores once, then selects a number of times, each time inside what was selected before."""

    name: ClassVar[str] = "rounds"
    n_rounds: int = 3

    def run(self, budget, seed):
        scored = yield Score("likelihood", {"template": "plain"}, "target")
        within = None
        for number in range(self.n_rounds):
            chosen = yield Select("random", str(budget), {"n": number}, within, seed)
            within = chosen.id
        return Outcome(within, (f"scored {scored.facts['n']}",))


class Executor:
    """Numbers its results, remembers its steps, and fails before a given one."""

    def __init__(self, fail_at: int = -1):
        self.steps, self.fail_at = [], fail_at

    def __call__(self, step):
        if len(self.steps) == self.fail_at:
            raise KeyboardInterrupt
        self.steps.append(step)
        return Result(f"result-of-{json.dumps(step_to_json(step), sort_keys=True)}", {"n": 7})


def drive(journal, executor=None, procedure=None, budget=TEN_PERCENT, seed=0) -> tuple[Any, list]:
    executor = executor or Executor()
    outcome = run_procedure(procedure or Rounds(), budget, seed, executor, journal)
    return outcome, executor.steps


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "new" / "folder" / "procedures.jsonl"


def test_steps_are_executed_in_order_and_see_the_results(journal):
    outcome, steps = drive(journal)
    assert [type(step) for step in steps] == [Score, Select, Select, Select]
    assert steps[1].within is None
    assert '"n": 0' in steps[2].within and '"n": 1' in steps[3].within
    assert outcome.warnings == ("scored 7",)
    assert len(journal.read_text().splitlines()) == 4


def test_finished_run_executes_nothing_again(journal):
    first, _ = drive(journal)
    before = journal.read_bytes()
    again, steps = drive(journal)
    assert (again, steps) == (first, [])
    assert journal.read_bytes() == before


def test_the_content_of_a_score_step_names_a_model_only_if_it_has_one():
    """So the journal of a run that began before steps could score with one still fits."""
    assert step_to_json(Score("length")) == {
        "kind": "score", "scorer": "length", "config": {}, "role": None, "within": None,
    }  # fmt: skip
    assert step_to_json(Score("length", model="m"))["model"] == "m"


@pytest.mark.parametrize("fail_at", range(4))
def test_interrupted_run_resumes_with_the_step_that_was_not_finished(journal, fail_at):
    whole, steps = drive(journal.with_name("whole.jsonl"))
    with pytest.raises(KeyboardInterrupt):
        drive(journal, Executor(fail_at))
    outcome, rest = drive(journal)
    assert outcome == whole
    assert rest == steps[fail_at:]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_torn_last_line_is_dropped_and_its_step_redone(journal, cut):
    whole, steps = drive(journal)
    complete = journal.read_bytes()
    journal.write_bytes(complete[:-cut])
    outcome, rest = drive(journal)
    assert (outcome, rest) == (whole, steps[-1:])
    assert journal.read_bytes() == complete


def test_every_length_of_the_journal_resumes_to_the_same_outcome(journal):
    whole, _ = drive(journal)
    complete = journal.read_bytes()
    for length in range(0, len(complete), 37):
        journal.write_bytes(complete[:length])
        assert drive(journal)[0] == whole
        assert journal.read_bytes() == complete


def test_damage_before_the_last_line_is_an_error_that_names_the_line(journal):
    drive(journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b'{"key": \n' + lines[2])
    with pytest.raises(StoreError, match=r"procedures.jsonl is damaged at line 2 .*; delete the"):
        drive(journal)
    journal.write_bytes(lines[0] + b'{"key": 1, "run": 2}\n')
    with pytest.raises(StoreError, match=r"at line 2 \(without place, result, step\)"):
        drive(journal)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"budget": Budget.parse("20%")}, {"budget": None}, {"procedure": Rounds(2)}],
)
def test_another_run_shares_the_journal_and_nothing_else(journal, other):
    first, _ = drive(journal)
    _, steps = drive(journal, **other)
    assert len(steps) == (3 if "procedure" in other else 4)
    assert drive(journal) == (first, [])


def test_one_journal_serves_procedures_with_equal_steps(journal):
    @dataclass(frozen=True)
    class Other(Rounds):
        name: ClassVar[str] = "other"

    drive(journal)
    assert len(drive(journal, procedure=Other())[1]) == 4


def test_results_are_the_same_fresh_and_replayed(journal):
    seen = []

    @dataclass(frozen=True)
    class Watching(Procedure):
        name: ClassVar[str] = "watching"

        def run(self, budget, seed):
            result = yield Score("likelihood")
            seen.append(result)
            return Outcome("x")

    def execute(step):
        return Result("id", {"pair": (1, 2), "text": "ünïcode"})

    for _ in range(2):
        run_procedure(Watching(), None, 0, execute, journal)
    assert seen[0] == seen[1] == Result("id", {"pair": [1, 2], "text": "ünïcode"})


def changing_procedure(budgets):
    @dataclass(frozen=True)
    class Changing(Procedure):
        name: ClassVar[str] = "changing"

        def run(self, budget, seed):
            yield Score("likelihood")
            chosen = yield Select("random", next(budgets))
            return Outcome(chosen.id)

    return Changing()


def test_procedure_that_asks_for_another_step_is_refused(journal):
    procedure = changing_procedure(iter(["5", "6"]))
    drive(journal, procedure=procedure)
    with pytest.raises(ProcedureError) as caught:
        drive(journal, procedure=procedure)
    message = str(caught.value)
    assert message.startswith("procedure 'changing' is not deterministic: step 2 was {")
    assert '"budget":"5"' in message and '"budget":"6"' in message
    assert message.endswith(f"or delete {journal} to start over")


def generator_of(step, value=None):
    @dataclass(frozen=True)
    class Made(Procedure):
        name: ClassVar[str] = "made"

        def run(self, budget, seed):
            yield step
            return value

    return Made()


@pytest.mark.parametrize("step", [None, "select", Select, Result("x")])
def test_only_steps_are_carried_out(journal, step):
    with pytest.raises(
        ProcedureError,
        match=r"is not a step; yield one of: Select, Score, Union, Train, Evaluate, Mean",
    ):
        drive(journal, procedure=generator_of(step))


@pytest.mark.parametrize("config", [{"a": {1}}, {"a": float("nan")}, {"a": object()}])
def test_steps_are_written_as_json(journal, config):
    with pytest.raises(ProcedureError, match="cannot be written as JSON .*; use text, finite"):
        drive(journal, procedure=generator_of(Score("likelihood", config)))
    assert not journal.read_text()


def test_result_that_is_not_json_names_its_step(journal):
    with pytest.raises(ProcedureError, match="the result of step 1 of procedure 'rounds' cannot"):
        drive(journal, lambda step: Result("id", {"array": {1, 2}}))


def test_procedure_must_end_with_an_outcome(journal):
    with pytest.raises(ProcedureError, match="'made' ended with 'x'; end run\\(\\) with return"):
        drive(journal, procedure=generator_of(Score("likelihood"), "x"))


def test_error_of_a_step_is_the_users_to_see(journal):
    def stopping(step):
        raise StopIteration("not the end of the procedure")

    with pytest.raises(StopIteration, match="not the end"):
        drive(journal, stopping)
    assert not journal.read_text()


def test_procedure_is_closed_when_a_step_fails(journal):
    closed = []

    @dataclass(frozen=True)
    class Closing(Procedure):
        name: ClassVar[str] = "closing"

        def run(self, budget, seed):
            try:
                yield Score("likelihood")
            finally:
                closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        drive(journal, Executor(0), Closing())
    assert closed == [True]


def test_finished_steps_survive_a_kill(journal):
    """Lines are on disk before the next step starts."""
    written = []

    def execute(step):
        written.append(journal.read_bytes().count(b"\n"))
        return Result("id", {"n": 1})

    run_procedure(Rounds(), None, 0, execute, journal)
    assert written == [0, 1, 2, 3]


def test_another_pool_or_model_replays_nothing(journal):
    run_procedure(Rounds(), TEN_PERCENT, 0, Executor(), journal, context={"pool": "a"})
    again, other = Executor(), Executor()
    run_procedure(Rounds(), TEN_PERCENT, 0, again, journal, context={"pool": "a"})
    run_procedure(Rounds(), TEN_PERCENT, 0, other, journal, context={"pool": "b"})
    assert (len(again.steps), len(other.steps)) == (0, 4)


def test_an_observer_is_told_of_replayed_steps_too(journal):
    drive(journal)
    told = []
    run_procedure(
        Rounds(), TEN_PERCENT, 0, Executor(), journal, observe=lambda *one: told.append(one)
    )
    assert [type(step) for step, _ in told] == [Score, Select, Select, Select]
