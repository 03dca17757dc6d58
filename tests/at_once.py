"""Commands that begin at the same moment, each in a process of its own."""

import time
from collections.abc import Sequence
from pathlib import Path

from forked import Forked, _curate


def at_once(commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int | None, str, str]]:
    """Run ``curate WORDS`` of each at once; return exit codes and what they printed, in order.

    ``folder`` takes what they print; they run in the current one.
    """
    go, started = folder / "go", []
    for number, words in enumerate(commands):
        own = folder / str(number)
        own.mkdir()
        started.append(Forked(_waiting, list(words), number, go, folder=own))
    deadline = time.monotonic() + 120
    while len(list(folder.glob("ready-*"))) < len(started):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    go.touch()
    printed = [each.communicate(120) for each in started]
    return [(each.returncode, *said) for each, said in zip(started, printed, strict=True)]


def _waiting(words: list[str], number: int, go: Path) -> None:
    import curate.cli  # what every command imports, before all of them begin
    import curate.scoring.job
    import curate.select.run  # noqa: F401

    (go.parent / f"ready-{number}").touch()
    while not go.exists():
        time.sleep(0.0005)
    _curate(words)
