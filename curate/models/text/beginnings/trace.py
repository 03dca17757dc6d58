"""One rendering of a conversation that also gives the renderings of its beginnings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, final

ASKED: Final = "curate_asked"
ENDED: Final = "curate_ended"
ITEM: Final = "curate_item"
ITERATED: Final = "curate_iterated"
NEXT: Final = "curate_next"
STARTED: Final = "curate_started"
TAIL: Final = "curate_tail"
WHOLE: Final = "curate_whole"
_NEVER: Final = 1 << 62


@final
@dataclass(slots=True)
class Trace:
    """What a template read and wrote in one rendering, as `report_foresight` has it report.

    Messages before the first `k` are the beginning of length k. Its text is claimed only where no
    report says that something in it was decided by message k or a later one, or by their number.

    Parameters
    ----------
    n
        How many messages are rendered.
    chunks
        What has been written, in pieces.
    starts
        How many chunks there were when each turn of the loop over messages began.
    end
        How many there were after the loop, or None before.
    offset
        Number of the first message the loop is over, or None before.
    untold
        Lengths of beginnings whose text cannot be claimed.
    unasked
        Beginnings longer than this read whether a prompt is wanted before the loop was over.
    """

    n: int = 0
    chunks: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    end: int | None = None
    offset: int | None = None
    untold: set[int] = field(default_factory=set)
    unasked: int = _NEVER

    def follow(self, pieces: Iterable[str], n: int) -> "Beginnings | None":
        """Take in what a template writes of n messages; None where it tells nothing of beginnings."""
        self.n, self.chunks, self.starts, self.untold = n, [], [], set()
        self.end = self.offset = None
        self.unasked = _NEVER
        for piece in pieces:
            self.chunks.append(piece)
        return Beginnings.of(self)

    @property
    def filters(self) -> dict[str, Callable[..., Any]]:
        """The reports by name; each returns the value it was given."""
        return {
            ASKED: self._asked,
            ENDED: _of_context(self._ended),
            ITEM: self._item,
            ITERATED: self._iterated,
            NEXT: self._next,
            STARTED: _of_context(self._started),
            TAIL: self._tail,
            WHOLE: self._whole,
        }

    @property
    def _reached(self) -> int:
        """Length of the shortest beginning that what is being written belongs to."""
        return len(self.starts) + (self.offset or 0)

    def _started(self) -> None:
        self.starts.append(len(self.chunks))

    def _ended(self) -> None:
        self.end = len(self.chunks)

    def _iterated(self, messages: Any) -> Any:
        self.offset = self.n - len(messages) if type(messages) is list else None
        return messages

    def _tail(self, messages: Any) -> Any:
        if type(messages) is list:
            self.untold.update(range(self.n - len(messages)))
            return messages
        return self._whole(messages)

    def _item(self, value: Any, messages: Any, index: Any) -> Any:
        if type(index) is not int or index < 0 or type(messages) is not list:
            return self._whole(value)
        at = self.n - len(messages) + index
        if at < self.n:
            self.untold.update(range(self._reached, at + 1))
        return value

    def _next(self, value: Any) -> Any:
        self.untold.add(self._reached)
        return value

    def _whole(self, value: Any) -> Any:
        self.untold.update(range(self._reached, self.n))
        return value

    def _asked(self, value: Any) -> Any:
        self.unasked = min(self.unasked, self._reached - 1)
        return value


@final
@dataclass(slots=True)
class Beginnings:
    """The text of a conversation, and where in it the text of each message begins.

    Parameters
    ----------
    text
        The whole, rendered without a prompt.
    edges
        Where message ``offset`` and each after it begin, and where the last one ends, in characters.
    offset, untold, unasked
        See `Trace`.
    """

    text: str
    edges: list[int]
    offset: int
    untold: set[int]
    unasked: int

    @classmethod
    def of(cls, trace: Trace) -> "Beginnings | None":
        """Read a finished rendering, or return None where the loop was not over each message."""
        if trace.offset is None or trace.end is None:
            return None
        if len(trace.starts) != trace.n - trace.offset:
            return None
        reached = [0, *accumulate(map(len, trace.chunks))]
        edges = [reached[count] for count in (*trace.starts, trace.end)]
        text = "".join(trace.chunks)
        return cls(text, edges, trace.offset, trace.untold, trace.unasked)

    def first(self, k: int) -> str | None:
        """Return the text of the first k messages, or None where it cannot be told."""
        at = k - self.offset
        if at == len(self.edges) - 1:
            return self.text
        if at < 0 or k < 1 or k in self.untold:
            return None
        return self.text[: self.edges[at]] + self.text[self.edges[-1] :]

    def asked(self, k: int) -> str | None:
        """Return the text of the first k messages up to where the prompt begins, or None."""
        at = k - self.offset
        if at < 0 or k < 1 or k > self.unasked or k in self.untold:
            return None
        return self.text[: self.edges[at]]


def _of_context(report: Callable[[], None]) -> Callable[..., str]:
    """Return a report as a filter that Jinja does not compute while it compiles."""
    from jinja2 import pass_context

    @pass_context
    def run(_context: Any, _value: Any) -> str:
        report()
        return ""

    return run
