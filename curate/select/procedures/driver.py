"""The driver of procedures: every step is executed once, journaled, and replayed on a resume."""

import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast, final

from curate.contracts import (
    Budget,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Outcome,
    Procedure,
    Result,
    Revise,
    Score,
    Select,
    Step,
    Train,
    Union,
)
from curate.errors import ProcedureError, StoreError

Execute: TypeAlias = Callable[[Step], Result]

Observe: TypeAlias = Callable[[Step, Result], None]

_KINDS: Final[Mapping[type, str]] = {
    Select: "select", Score: "score", Union: "unite", Train: "train", Evaluate: "evaluate",
    Mean: "mean", Generate: "generate", Judge: "judge", Revise: "revise",
}  # fmt: skip


def run_procedure(
    procedure: Procedure,
    budget: Budget | None,
    seed: int,
    execute: Execute,
    journal: Path,
    *,
    context: Mapping[str, Any] | None = None,
    observe: Observe = lambda _step, _result: None,
) -> Outcome:
    """Drive a procedure to its outcome; steps finished by an earlier run are not executed again.

    A finished step is one line of the journal, written and synced before the procedure sees its
    result. The line is found again by the procedure's name, configuration, budget, seed and
    context, and the step's place and content. One journal serves any number of procedures and runs,
    one at a time.

    Parameters
    ----------
    execute
        Carries out one step and returns what it left in the store. Its errors end the run; the
        step is executed again when the run is resumed.
    journal
        File of JSON lines, created with its folder when missing. A last line cut short by a crash
        is dropped and its step is executed again.
    context
        Everything else that determines the results, such as the pool and the models, as plain values.
    observe
        Called with every step and its result, executed now or by an earlier run.

    Raises
    ------
    ProcedureError
        The procedure is not deterministic (at the same place it asks for another step than it did
        before), yields something other than a step, ends without an outcome, or a step or result
        cannot be written as JSON.
    StoreError
        The journal is damaged before its last line.
    """
    with _open_journal(journal) as book:
        run = _run_key(procedure, budget, seed, context or {})
        generator = procedure.run(budget, seed)
        try:
            reached, place = _advance(generator, None), 0
            while not isinstance(reached, _End):
                result = _result_of(reached, place, run, procedure.name, execute, book)
                observe(reached, result)
                reached, place = _advance(generator, result), place + 1
        finally:
            generator.close()
    return _outcome(reached.value, procedure.name)


def step_to_json(step: Step) -> dict[str, Any]:
    """Return a step as the plain mapping from which its journal key is computed.

    Raises `ProcedureError` if it is not a step, or holds values JSON cannot express exactly.
    """
    if type(step) not in _KINDS:
        raise ProcedureError(
            f"a procedure yielded {step!r}, which is not a step; yield one of: "
            f"{', '.join(kind.__name__ for kind in _KINDS)}"
        )
    document = {"kind": _KINDS[type(step)], **asdict(step)}
    if isinstance(step, Score) and not step.model:
        del document["model"]  # as before there was one: journals of unfinished runs still fit
    return cast(dict[str, Any], json.loads(_dump(document, f"step {step!r}")))


@final
@dataclass
class _Journal:
    """An append-only file of finished steps, with what it holds by key and by place."""

    path: Path
    file: BinaryIO
    results: dict[str, Result] = field(default_factory=dict)
    steps: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def remember(self, line: Mapping[str, Any]) -> None:
        result = line["result"]
        self.results[line["key"]] = Result(result["id"], result["facts"])
        self.steps[line["run"], line["place"]] = line["step"]

    def append(self, line: Mapping[str, Any]) -> None:
        self.file.write(_dump(line, "a journal line").encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.remember(line)


@final
@dataclass(frozen=True)
class _End:
    """What a generator returned."""

    value: Any


def _advance(generator: Generator[Step, Result, Outcome], result: Result | None) -> Step | _End:
    try:
        return generator.send(cast(Result, result))  # None starts it
    except StopIteration as finished:
        return _End(finished.value)


def _result_of(
    step: Step, place: int, run: str, name: str, execute: Execute, book: _Journal
) -> Result:
    document = step_to_json(step)
    before = book.steps.get((run, place))
    if before is not None and before != document:
        raise ProcedureError(
            f"procedure {name!r} is not deterministic: step {place + 1} was "
            f"{_dump(before, 'the step')} and is now {_dump(document, 'the step')}; make its run() "
            f"depend only on its fields, the budget, the seed and the results, "
            f"or delete {book.path} to start over"
        )
    key = _digest([run, place, document])
    if key not in book.results:
        result = execute(step)
        what = f"the result of step {place + 1} of procedure {name!r}"
        plain = json.loads(_dump(asdict(result), what))
        book.append({"key": key, "run": run, "place": place, "step": document, "result": plain})
    return book.results[key]


def _outcome(value: Any, name: str) -> Outcome:
    if not isinstance(value, Outcome):
        raise ProcedureError(
            f"procedure {name!r} ended with {value!r}; end run() with return Outcome(selection_id)"
        )
    return value


def _run_key(
    procedure: Procedure, budget: Budget | None, seed: int, context: Mapping[str, Any]
) -> str:
    config = {item.name: getattr(procedure, item.name) for item in fields(cast(Any, procedure))}
    spent = None if budget is None else [budget.amount, budget.unit]
    return _digest([procedure.name, config, spent, seed, context])


def _digest(document: Any) -> str:
    text = _dump(document, "a procedure's configuration")
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _dump(document: Any, what: str) -> str:
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ProcedureError(
            f"{what} cannot be written as JSON ({error}); "
            "use text, finite numbers, true, false, null, lists and mappings"
        ) from error


@contextmanager
def _open_journal(path: Path) -> Iterator[_Journal]:
    from curate.store.parts import (
        sync,  # pyarrow, which importing the contract checks must not load
    )

    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a+b") as file:
        if is_new:
            sync(path.parent)
        file.seek(0)
        book = _Journal(path, file)
        intact = 0
        for number, raw in enumerate(file.read().splitlines(keepends=True), start=1):
            if not raw.endswith(b"\n"):
                break  # cut short by a crash: the step was not finished
            book.remember(_parse(raw, path, number))
            intact += len(raw)
        file.truncate(intact)
        yield book


def _parse(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(raw)
        missing = {"key", "run", "place", "step", "result"} - set(line)
    except (ValueError, TypeError) as error:
        raise _damaged(path, number, str(error)) from error
    if missing:
        raise _damaged(path, number, f"without {', '.join(sorted(missing))}")
    return cast(dict[str, Any], line)


def _damaged(path: Path, number: int, why: str) -> StoreError:
    return StoreError(
        f"journal {path} is damaged at line {number} ({why}); "
        "delete the file to run its procedures from the start (finished scores are kept)"
    )
