"""What a selector sees: arrays of the eligible examples, never a database handle."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int, Shaped

from curate.errors import ConfigError, DataError, ExpressionError, MissingColumnError, did_you_mean

BLOCK_ROWS: Final = 65_536


@final
@dataclass(frozen=True, eq=False)
class Vectors:
    """One vector per example of a view, read in blocks from a memory-mapped file.

    Parameters
    ----------
    array
        All vectors of the score set, (m, dim), usually an `np.memmap`.
    rows
        Row of ``array`` for each example of the view, (n,), or None when they coincide.
    """

    array: Shaped[np.ndarray, "m dim"]
    rows: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def dim(self) -> int:
        """Number of components of each vector."""
        return int(self.array.shape[1])

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[int, Shaped[np.ndarray, "b dim"]]]:
        """Yield ``(start, block)`` over the view in order; each block is an in-memory copy."""
        for start in range(0, len(self), size):
            yield start, self.take(np.arange(start, min(start + size, len(self))))

    def take(self, indices: Int[np.ndarray, " k"]) -> Shaped[np.ndarray, "k dim"]:
        """Return the vectors of some examples as an array in memory."""
        return np.asarray(self.array[indices if self.rows is None else self.rows[indices]])


Rows = np.ndarray[Any, np.dtype[np.int64]]
TextBlock = tuple[Rows, Sequence[str], Sequence[str]]


@final
@dataclass(frozen=True, eq=False)
class View:
    """Read-only arrays over the eligible examples of a pool, sorted by id.

    Parameters
    ----------
    ids
        Example ids as bytes, sorted; ties everywhere are broken by this order.
    columns
        Scores by ``alias.column``, each (n,), or by bare alias for an expression.
    groups
        Dense group codes 0..n_groups-1 in order of group id: same code, same messages before
        the final assistant turn.
    sources
        Dense codes into ``source_names``.
    tokens
        Tokens of each example in the target rendering (prompt and response), or None without a
        tokenizer.
    vectors_by_column
        Vector columns by ``alias.column``.
    n_pool, pool_tokens
        Size of the whole pool, eligible or not: what shares are shares of. Default: this view.
    excluded
        Examples of the pool that are not in this view, by reason.
    texts
        Reads the texts of examples, as `texts_of` does; only where a whole pool is scored.
    target
        The target set selected towards, as a view of its own with the same columns; None without one.
    """

    ids: Shaped[np.ndarray, " n"]
    columns: Mapping[str, Shaped[np.ndarray, " n"]] = field(default_factory=dict)
    groups: Int[np.ndarray, " n"] | None = None
    sources: Int[np.ndarray, " n"] | None = None
    source_names: Sequence[str] = ()
    tokens: Int[np.ndarray, " n"] | None = None
    vectors_by_column: Mapping[str, Vectors] = field(default_factory=dict)
    n_pool: int = -1
    pool_tokens: int | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    texts: Callable[[Rows], Iterator[TextBlock]] | None = None
    target: "View | None" = None

    def __post_init__(self) -> None:
        if self.n_pool < 0:
            object.__setattr__(self, "n_pool", len(self.ids) + sum(self.excluded.values()))
        if self.pool_tokens is None and self.tokens is not None:
            object.__setattr__(self, "pool_tokens", int(self.tokens.sum()))

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, column: str) -> Float[np.ndarray, " n"]:
        """Return one numeric column as float64.

        Raises `MissingColumnError` if it is not here, `ExpressionError` if it holds text.
        """
        values = np.asarray(self._find(self.columns, column))
        if values.dtype.kind in "OSU":
            raise ExpressionError(
                f"column {column!r} is text, but a number is needed; use a numeric column, such as n_chars"
            )
        return values.astype(np.float64, copy=False)

    def column(self, column: str) -> Shaped[np.ndarray, " n"]:
        """Return one column in its own dtype (booleans stay booleans)."""
        return np.asarray(self._find(self.columns, column))

    def vectors(self, column: str) -> Vectors:
        """Return one vector column."""
        stored = self._find(self.vectors_by_column, column)
        assert isinstance(stored, Vectors)
        return stored

    def matrix(self, column: str) -> Float[np.ndarray, "n k"]:
        """Return a column of equally long lists of numbers as one array, floats as they are stored.

        Raises `MissingColumnError` if it is not here, `DataError` for lists of different lengths.
        """
        if column in self.vectors_by_column:
            stored = self.vectors(column).take(np.arange(len(self)))
            return stored if stored.dtype.kind == "f" else stored.astype(np.float64)
        lists = self._find(self.columns, column)
        lengths = {len(values) for values in lists}
        if len(lengths) > 1:
            raise DataError(
                f"column {column!r} has lists of {min(lengths)} to {max(lengths)} numbers, but "
                "equal lengths are needed; score again with one setting for all"
            )
        width = lengths.pop() if lengths else 0
        return np.array([*lists], dtype=np.float64).reshape(len(self), width)

    def texts_of(self, rows: Int[np.ndarray, " k"]) -> Iterator[TextBlock]:
        """Yield the texts of some examples in blocks, in the order of the pool.

        A block says which of ``rows`` it holds, by their place in ``rows``, and has the history
        before the last turn and the last turn of each, as plain text without the names of roles:
        the same texts that row scorers read. Only a pool scorer's view has texts.
        """
        assert self.texts is not None, "only the view of a pool scorer reads texts"
        return self.texts(rows)

    def towards(self) -> "View":
        """Return the view of the target set; `ConfigError` where there is none."""
        if self.target is None:
            raise ConfigError("this view has no target set; add --target NAME")
        return self.target

    def group_codes(self) -> Int[np.ndarray, " n"]:
        """Return the group of each example; without groups every example is its own."""
        return np.arange(len(self)) if self.groups is None else self.groups

    def _find(self, columns: Mapping[str, Any], column: str) -> Any:
        if column in columns:
            return columns[column]
        known = sorted([*self.columns, *self.vectors_by_column])
        hint = did_you_mean(column, known)
        scorer = column.split(".")[0]
        raise MissingColumnError(
            f"column {column!r} is not in the view (it has: {', '.join(known) or 'none'}){hint}; "
            f"run the scorer that writes it: curate score --scorer {scorer}"
        )
