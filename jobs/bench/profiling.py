"""Where the time of a figure goes, as text."""

import cProfile
import io
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, final

LINES: Final = 40


@final
@dataclass(slots=True)
class Profiler:
    """Collects what ran in this process, and the texts of profiles from others."""

    _own: cProfile.Profile = field(default_factory=cProfile.Profile)
    _texts: list[str] = field(default_factory=list)
    _ran: bool = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Profile the body."""
        self._ran = True
        self._own.enable()
        try:
            yield
        finally:
            self._own.disable()

    def add(self, text: str) -> None:
        """Add the profile of another process."""
        self._texts.append(text)

    def text(self) -> str:
        """Return every profile."""
        return "\n\n".join([*self._texts, *([text_of(self._own)] if self._ran else [])])


def text_of(profiler: cProfile.Profile) -> str:
    """Return a profile's most expensive functions, by own time and then with what they call."""
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text).strip_dirs()
    stats.sort_stats("tottime").print_stats(LINES)
    stats.sort_stats("cumulative").print_stats(LINES)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip() + "\n"
