"""Every error a user can cause: one root, one class per kind of mistake, one exit code each."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar, Final

_LOGIN: Final = re.compile(r"://[^/\s@'\"]+@")


class CurateError(Exception):
    """Root of all errors `curate` raises on purpose; the command line shows them as one line."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """Return the message; who logs in where, in an address, is left out of it."""
        return _LOGIN.sub("://***@", str(self.args[0])) if self.args else ""


class ConfigError(CurateError, ValueError):
    """A flag, field or recipe key is wrong."""

    exit_code = 2


class BudgetError(ConfigError):
    """The budget is malformed, or larger than what is eligible."""


class ExpressionError(ConfigError):
    """An expression does not parse, or names a column or function that does not exist."""


class MissingColumnError(ConfigError, KeyError):
    """A score that is needed has not been computed."""


class MissingPackageError(ConfigError, ImportError):
    """An optional package is needed; the message has the line that installs it."""


class DataError(CurateError, ValueError):
    """An input file or row is wrong; the message names the file and the row."""

    exit_code = 2


class ModelError(CurateError, ValueError):
    """A model or tokenizer is missing, incomplete or does not fit its tokenizer."""

    exit_code = 2


class ScoreError(CurateError, RuntimeError):
    """A scorer broke its contract; nothing was written for that shard."""


class ProcedureError(CurateError, RuntimeError):
    """A procedure broke its contract; finished steps are kept in its journal."""


class TrainError(CurateError, RuntimeError):
    """Training cannot continue; saved checkpoints are kept."""


class WorkerError(CurateError, RuntimeError):
    """A worker process died; finished parts are kept."""


class DeviceError(CurateError, RuntimeError):
    """Memory ran out or a GPU failed; finished parts are kept, and no example is blamed."""


class StoreError(CurateError, RuntimeError):
    """The store cannot be opened or written; the message says why.

    ``is_held``: another process has the file, so the same call will do once that is done.
    ``is_repeated``: another process has done the same meanwhile, so its result can be used.
    """

    is_held: bool = False
    is_repeated: bool = False


class TooManyFailuresError(CurateError, RuntimeError):
    """The job finished with more failed examples than `--max-failures` allows."""

    exit_code = 3


class InterruptedRunError(CurateError, RuntimeError):
    """The user stopped the run; finished work is saved."""

    exit_code = 130


UNDEFINED: Final = "undefined: "  # before the reason of a score that an example has none of
# Reasons of such scores that were stored before they had a mark, which stay as they are.
UNMARKED: Final = frozenset({
    "loss_without_prompt_is_zero", "no_letters", "no_scored_tokens", "no_words", "nothing_to_embed",
})  # fmt: skip


class ExampleFailure(Exception):  # noqa: N818 - recorded per example, never shown as an error
    """Raised by a scorer for one example it cannot score; `reason` is stored, the job continues."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UndefinedScore(ExampleFailure):
    """Raised by a scorer for one example that has no such score, though nothing is wrong with it.

    A text without words has no diversity of words. The example is left out of what selects by the
    score, as a failed one is, and is counted by itself: it never ends a run.
    """

    def __init__(self, reason: str) -> None:
        marked = reason.startswith(UNDEFINED) or reason in UNMARKED
        super().__init__(reason if marked else UNDEFINED + reason)


def idle(flags: Sequence[str], text: str) -> ConfigError:
    """Return the error for flags that apply to nothing; ``text`` goes on after them.

    Its ``{says}`` and ``{it}`` are in the number of the flags.

    Examples
    --------
    >>> str(idle(["--a", "--b"], "{says} how, and there is no what: leave {it} out"))
    '--a, --b say how, and there is no what: leave them out'
    """
    says, it = ("says", "it") if len(flags) == 1 else ("say", "them")
    return ConfigError(f"{', '.join(flags)} {text.format(says=says, it=it)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'`` for the known name closest in spelling, or "" if none is close.

    It follows what is wrong in a message and goes before what would be right.

    Examples
    --------
    >>> f"no template 'grap'{did_you_mean('grap', ['chat', 'grape'])}; choose one of: chat, grape"
    "no template 'grap'; did you mean 'grape'; choose one of: chat, grape"
    """
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near!r}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest in spelling, or None if none is close."""
    near = get_close_matches(name, list(known), n=1)
    return near[0] if near else None
