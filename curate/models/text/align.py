"""Which tokens of a text are scored, and which of them end a turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int


@final
@dataclass(slots=True)
class Tokens:
    """A whole text in tokens: ids, whether each is scored, whether each ends a turn."""

    ids: Int[np.ndarray, " n"]
    scored: Bool[np.ndarray, " n"]
    is_end: Bool[np.ndarray, " n"]
    n_text: int = 0

    @classmethod
    def unscored(cls, ids: Int[np.ndarray, " n"]) -> "Tokens":
        """Return tokens of which none is scored yet."""
        return cls(ids, np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool))

    def end_with(self, token: int) -> None:
        """Append a token that is scored and ends the last turn."""
        n = len(self.ids)
        ids, scored, is_end = (
            np.empty(n + 1, self.ids.dtype),
            np.empty(n + 1, bool),
            np.empty(n + 1, bool),
        )
        ids[:n], scored[:n], is_end[:n] = self.ids, self.scored, self.is_end
        ids[n], scored[n], is_end[n] = token, True, True
        self.ids, self.scored, self.is_end = ids, scored, is_end


@final
class TurnMarker:
    """Marks the tokens of turns as scored, and their ends.

    Parameters
    ----------
    backend
        The tokenizer, which knows what a token says.
    special
        Ids of the tokens that end turns.
    """

    def __init__(self, backend: Any, special: Iterable[int]) -> None:
        self._backend = backend
        self._special = frozenset(special)
        self._blank: dict[int, bool] = {}

    def mark(self, tokens: Tokens, rows: Int[np.ndarray, " t"], exact: bool) -> None:
        """Score a turn; its closing special tokens are its end, and blanks after them are no part of it.

        Under the mask of another trainer (``exact``) those blanks are scored too, as its end.
        """
        last = len(rows)
        while last and self._is_blank(tokens.ids[rows[last - 1]]):
            last -= 1
        if last and tokens.ids[rows[last - 1]] in self._special:
            tokens.is_end[rows[last:]] = exact
            rows = rows if exact else rows[:last]
            while last and tokens.ids[rows[last - 1]] in self._special:
                tokens.is_end[rows[last - 1]] = True
                last -= 1
        tokens.scored[rows] = True

    def _is_blank(self, token: int) -> bool:
        """Whether a token is no special one and says nothing but blanks."""
        if token not in self._blank:
            words = self._backend.decode([int(token)], skip_special_tokens=False)
            self._blank[token] = token not in self._special and not words.strip()
        return self._blank[token]


def covered(
    encoding: Any, own: slice, spans: Sequence[tuple[int, int]]
) -> list[Int[np.ndarray, " t"]]:
    """Return which tokens of a text lie in each of some spans of characters.

    Parameters
    ----------
    encoding
        What the tokenizer made of the text.
    own
        Which of its tokens count. One that the tokenizer added belongs to no character.
    spans
        [start, end) in characters.
    """
    rows = []
    for start, end in spans:
        bounds = _between(encoding, start, end)
        if bounds is None:
            return _by_offsets(encoding, own, spans)
        rows.append(np.arange(bounds[0] - own.start, bounds[1] - own.start))
    return rows


def _between(encoding: Any, start: int, end: int) -> tuple[int, int] | None:
    """Return the tokens [first, last) between two characters, or None where no token has those.

    Tokens follow each other as the text does, so that the two ends decide.
    """
    first = encoding.char_to_token(start)
    last = encoding.char_to_token(end - 1)
    if first is None or last is None or end <= start:
        return None
    last += 1
    while last < len(encoding) and (place := encoding.token_to_chars(last)) is not None:
        if place[0] >= end or place[0] == place[1]:
            break
        last += 1
    return first, last


def _by_offsets(
    encoding: Any, own: slice, spans: Sequence[tuple[int, int]]
) -> list[Int[np.ndarray, " t"]]:
    starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[own].T
    added = np.array(encoding.special_tokens_mask, dtype=bool)[own]
    starts = _moved(starts, ends, added)
    return [np.flatnonzero((ends > start) & (starts < end) & ~added) for start, end in spans]


def _moved(
    starts: Int[np.ndarray, " n"], ends: Int[np.ndarray, " n"], added: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Let an empty token start where the last ended: some tokenizers report blanks as empty."""
    reached = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])[: len(ends)]
    return np.where((starts == ends) & ~added, np.minimum(reached, starts), starts)
