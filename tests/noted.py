"""A progress that keeps what is said."""

from dataclasses import dataclass, field

from curate.contracts.progress import SilentProgress


@dataclass
class Noted(SilentProgress):
    """Takes each line that a user would read."""

    said: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.said.append(text)
