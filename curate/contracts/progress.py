"""How long work reports itself: the library calls a `Progress`, the command line or notebook draws it."""

from dataclasses import dataclass, field
from typing import Final, Protocol, final, runtime_checkable

SCORING: Final = "scoring"  # the stage of a scoring run
TRIALS: Final = "trials"  # and that of a proof


@runtime_checkable
class Progress(Protocol):
    """Receiver of progress; every method returns at once."""

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage of ``total`` units (None: unknown), ``done`` of them by an earlier run.

        These say nothing about how fast the others will be.
        """

    def advance(self, stage: str, amount: int) -> None:
        """Report ``amount`` more units of a stage as done."""

    def finish(self, stage: str) -> None:
        """End a stage."""

    def note(self, text: str) -> None:
        """Say one line to the user: what was detected, decided or skipped."""


@final
class SilentProgress:
    """A silent `Progress`, for library use."""

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Ignore the stage."""

    def advance(self, stage: str, amount: int) -> None:
        """Ignore the units."""

    def finish(self, stage: str) -> None:
        """Ignore the end."""

    def note(self, text: str) -> None:
        """Ignore the line."""


@final
@dataclass(frozen=True)
class DedupedNotes:
    """A `Progress` that passes each distinct note on once, for work that repeats itself."""

    to: Progress
    said: set[str] = field(default_factory=set)

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Pass it on."""
        self.to.start(stage, total, unit, done)

    def advance(self, stage: str, amount: int) -> None:
        """Pass it on."""
        self.to.advance(stage, amount)

    def finish(self, stage: str) -> None:
        """Pass it on."""
        self.to.finish(stage)

    def note(self, text: str) -> None:
        """Pass it on if it is new."""
        if text not in self.said:
            self.said.add(text)
            self.to.note(text)
