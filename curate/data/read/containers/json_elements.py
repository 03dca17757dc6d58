"""Splits a JSON array, or one object, into the exact texts of its elements, in bounded memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Final, final

from curate.data.read.records import too_long

_BLOCK: Final = 1 << 20
# A whole string, a bracket, or the quote of a string that has not ended yet.
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_QUOTE, _OPEN, _CLOSE = ord('"'), b"{[", b"}]"


@final
@dataclass(frozen=True, slots=True)
class Element:
    """One element: its exact bytes, the line it starts on (from 1), and what is wrong around it."""

    text: bytes
    line: int
    problem: str = ""


def elements(stream: BufferedIOBase) -> Iterator[Element]:
    """Yield the elements of a top-level array, or a lone top-level object, in order.

    Brackets and strings decide where an element ends, so a malformed element does not hide the
    next one. What stands between two elements and is not a comma becomes an element with a
    ``problem``, and so does an unclosed end of the file. Memory is that of the largest element; one
    longer than a record may be is the last.
    """
    scanner = _Scanner()
    at_end = False
    while not at_end:
        block = stream.read(max(_BLOCK, scanner.pending))
        at_end = not block
        yield from scanner.feed(block)
        if problem := too_long(scanner.n_open):
            yield Element(b"", scanner.line, problem)
            return
    yield from scanner.finish()


@final
class _Scanner:
    """Bracket counter over a moving window of the file."""

    def __init__(self) -> None:
        self._window = b""
        self._scan = 0  # first byte not yet tokenised
        self._since = 0  # end of the last element or bracket at base depth
        self._start = -1  # start of the open element, or -1 between elements
        self._depth = 0
        self._base = -1  # depth at which elements lie: 1 in an array, 0 for a lone object
        self._line = 1  # line number at `_counted`
        self._counted = 0
        self._n_elements = 0

    @property
    def pending(self) -> int:
        """Bytes of an unfinished string, which is scanned again with as many more."""
        return len(self._window) - self._scan

    @property
    def n_open(self) -> int:
        """Bytes read of the element that is open, or of what stands between two."""
        return len(self._window)

    @property
    def line(self) -> int:
        """The line at which what is open starts."""
        return self._line_at(0)

    def feed(self, block: bytes) -> Iterator[Element]:
        if not self._window and self._base < 0:
            block = block.removeprefix(b"\xef\xbb\xbf")
        self._window += block
        window = self._window
        for match in _TOKEN.finditer(window, self._scan):
            at = match.start()
            byte = window[at]
            if byte == _QUOTE:
                if match.end() == at + 1:
                    self._scan = at
                    break
            elif byte in _OPEN:
                yield from self._open(at, byte)
            else:
                yield from self._close(at)
        else:
            self._scan = len(window)
        self._trim()

    def finish(self) -> Iterator[Element]:
        tail = self._window[self._start if self._start >= 0 else self._since :]
        if self._depth > 0:
            yield Element(b"", self._line_at(len(self._window)), "the file ends inside the JSON")
        elif tail.strip():
            yield Element(b"", self._line_at(self._since), "text that is not part of the JSON")

    def _open(self, at: int, byte: int) -> Iterator[Element]:
        if self._base < 0:
            yield from self._check_gap(at)
            self._base = 1 if byte == ord("[") else 0
            if self._base == 1:
                self._depth = 1
                self._since = at + 1
                return
        if self._depth == self._base and self._start < 0:
            yield from self._check_gap(at)
            self._start = at
        self._depth += 1

    def _close(self, at: int) -> Iterator[Element]:
        self._depth -= 1
        if self._depth == self._base and self._start >= 0:
            text = self._window[self._start : at + 1]
            yield Element(text, self._line_at(self._start))
            self._n_elements += 1
            self._start, self._since = -1, at + 1
        elif self._depth < max(self._base, 0):
            yield from self._check_gap(at, closing=True)
            self._since = at + 1
            if self._depth < 0:
                yield Element(b"", self._line_at(at), "an unmatched closing bracket")
                self._depth = 0

    def _check_gap(self, at: int, *, closing: bool = False) -> Iterator[Element]:
        gap = self._window[self._since : at].strip()
        wanted = b"," if self._base == 1 and self._n_elements and not closing else b""
        if gap == wanted:
            return
        line = self._line_at(self._since)
        if not gap.strip(b", \t\r\n"):
            reason = (
                "not valid JSON: a comma is missing" if wanted else "not valid JSON: an extra comma"
            )
            yield Element(b"", line, reason)
        else:
            shown = gap.strip(b", \t\r\n")[:40].decode("utf-8", "replace")
            yield Element(b"", line, f"not a JSON object: {shown!r}")

    def _line_at(self, at: int) -> int:
        self._line += self._window.count(b"\n", self._counted, at)
        self._counted = max(at, self._counted)
        return self._line

    def _trim(self) -> None:
        keep = self._start if self._start >= 0 else min(self._since, self._scan)
        self._line_at(keep)
        self._window = self._window[keep:]
        self._scan -= keep
        self._since -= keep
        self._counted -= keep
        self._start = min(self._start, 0)
