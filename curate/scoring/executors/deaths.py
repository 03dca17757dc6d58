"""What deaths of workers say of a shard: which of its examples kill, and what is to be run next.

Engines hand over each death and each report, and run what they are given; nothing here runs anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

from curate.contracts import KILLS_WORKER
from curate.contracts.display import counted
from curate.errors import WorkerError
from curate.scoring.executors.worker import Portion, ShardTask, TaskReport

MAX_DEATHS: Final = 2  # of workers on the same examples: one may be an accident
MAX_FOUND: Final = 32  # examples of a shard; where more of them kill, it is not the examples
NAMED: Final = 3  # of them in one line


@final
@dataclass(slots=True, eq=False)
class _Suspects:
    """Examples tried together; ``is_suspected``: one at least must kill, by a death or by reasoning."""

    ids: Sequence[str]
    n_deaths: int = 0
    is_suspected: bool = False
    other_half: "_Suspects | None" = None


@final
class Search:
    """Bisection for the examples of a shard that kill a worker by themselves.

    Each is found by two deaths with nothing else in the worker. For p of n examples it takes about
    ``1.5 p log2(n)`` trials, of which a third end in a death, and two deaths more for each.

    Parameters
    ----------
    ids
        Examples that have killed ``n_deaths`` workers together.
    n_deaths
        How many that were.

    Examples
    --------
    >>> search = Search("abcd", 2)
    >>> while (ids := search.next()) is not None:
    ...     search.died() if "c" in ids else search.lived()
    >>> search.found
    ['c']
    """

    def __init__(self, ids: Sequence[str], n_deaths: int) -> None:
        self.found: list[str] = []
        self._stack = [_Suspects(tuple(ids), n_deaths, is_suspected=True)] if ids else []
        self._tried: _Suspects | None = None

    def next(self) -> Sequence[str] | None:
        """Return the examples to try next, or None when all that kill by themselves are found."""
        while self._stack:
            at = self._stack.pop()
            if len(at.ids) == 1 and at.n_deaths >= MAX_DEATHS:
                self.found.append(at.ids[0])
            elif len(at.ids) > 1 and at.is_suspected:
                half = len(at.ids) // 2
                second = _Suspects(at.ids[half:])
                self._stack += [second, _Suspects(at.ids[:half], other_half=second)]
            else:
                self._tried = at
                return at.ids
        return None

    def died(self) -> None:
        """Note that a worker died of what was tried."""
        assert self._tried is not None, "next() comes first"
        tried = self._tried
        self._stack.append(_Suspects(tried.ids, tried.n_deaths + 1, is_suspected=True))

    def lived(self) -> None:
        """Note that no worker died of what was tried, so that it is the other half that kills."""
        assert self._tried is not None, "next() comes first"
        if self._tried.other_half is not None:
            self._tried.other_half.is_suspected = True


@final
@dataclass(slots=True)
class _Case:
    """One shard that has killed workers: how often as it is run now, and the search in it."""

    task: ShardTask
    n_deaths: int = 0
    cause: str = ""
    advice: str = ""
    search: Search | None = None


@final
@dataclass
class Deaths:
    """The shards of a job that have killed workers.

    A shard that has killed two is tried in parts, each of which writes nothing, until the examples
    are found that kill by themselves. They are recorded as failed with `KILLS_WORKER`, and the shard
    is run again as planned, without them.

    Parameters
    ----------
    say
        Takes each line for the user.
    """

    say: Callable[[str], None]
    _cases: dict[tuple[int, str], _Case] = field(default_factory=dict)

    def died(self, task: ShardTask, cause: str, advice: str) -> ShardTask:
        """Return what to run in place of a task whose worker died, before all others.

        A death that has nothing to do with the task, such as that of a machine, is not reported
        here: its task is run again.

        Parameters
        ----------
        cause
            What ended the worker, such as ``SIGSEGV``.
        advice
            What the user can do if no example is to blame: the end of the error.

        Raises
        ------
        WorkerError
            A shard of which no example kills by itself, or too many do.
        """
        case = self._cases.setdefault(task.key, _Case(task))
        if case.search is not None and task.is_trial:
            if not task.portion.only:
                raise _error(case)  # loading the pass is enough
            case.search.died()
            return self._next(case)
        case.n_deaths, case.cause, case.advice = case.n_deaths + 1, cause, advice
        again = replace(task, n_retries=task.n_retries + 1)
        if case.n_deaths < MAX_DEATHS:
            return again
        if task.portion.omitted and task.portion.renders_omitted:
            case.n_deaths = 0
            return replace(again, portion=replace(task.portion, renders_omitted=False))
        if task.portion.omitted:
            n = counted(len(task.portion.omitted), "example")
            raise _error(case, f" also without the {n} found to do so")
        self.say(
            f"shard {task.shard_id} killed {case.n_deaths} workers ({cause}); parts of it are tried, "
            "to find the example that does"
        )
        case.search = Search((), 0)
        return replace(task, portion=Portion(only=frozenset()))

    def tried(self, report: TaskReport) -> ShardTask:
        """Return what to run after a trial that no worker died of, before all others.

        Raises `WorkerError` as `died` does.
        """
        case = self._cases[report.task.key]
        assert case.search is not None, "a death comes first"
        if report.is_gone:
            return case.task
        if report.task.portion.only:
            case.search.lived()
        else:
            case.search = Search(report.ids, case.n_deaths)
        return self._next(case)

    def _next(self, case: _Case) -> ShardTask:
        assert case.search is not None
        ids = case.search.next()
        found = case.search.found
        if len(found) > MAX_FOUND:
            raise _error(case, f", and of more than {MAX_FOUND} of its examples alone")
        if ids is not None:
            return replace(case.task, portion=Portion(only=frozenset(ids)))
        if not found:
            raise _error(case, ", and none on a part of it")
        self.say(
            f"shard {case.task.shard_id}: {_named(found)} its worker ({case.cause}); recorded as failed "
            f"({KILLS_WORKER}), and the shard is run again without "
            f"{'it' if len(found) == 1 else 'them'}"
        )
        n_retries, case.n_deaths = case.task.n_retries + case.n_deaths, 0
        return replace(case.task, portion=Portion(omitted=frozenset(found)), n_retries=n_retries)


def _named(found: Sequence[str]) -> str:
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    verb = "kills" if len(found) == 1 else "kill"
    return f"{'example' if len(found) == 1 else 'examples'} {', '.join(found[:NAMED])}{more} {verb}"


def _error(case: _Case, more: str = "") -> WorkerError:
    return WorkerError(
        f"{case.n_deaths} workers died on shard {case.task.shard_id} ({case.cause}){more}; finished "
        f"shards are kept; {case.advice}"
    )
