"""A command that is refused: one line of error, and nothing on stdout."""

from typing import Any


def fails(curate: Any, error: str, *arguments: object, code: int = 2) -> None:
    """Assert the exit code and that stderr is this one line; also with --json."""
    for more in ((), ("--json",)):
        ran = curate(*arguments, *more)
        assert (ran.code, ran.result, ran.err) == (code, "", error + "\n")
