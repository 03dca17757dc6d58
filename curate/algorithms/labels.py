"""Labels of examples: read from text, and which of them are near each other in an embedding."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np
from jaxtyping import Float, Int, Shaped

from curate.algorithms.directions import Comparable, unit_rows

if TYPE_CHECKING:
    from polars import Series
    from scipy.sparse import csr_matrix

BLOCK_LABELS: Final = 4_096


@final
@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of each example, listed one example after the other, each label once.

    Parameters
    ----------
    names
        All labels, sorted, (L,).
    starts
        Where the list of each example begins, and the end of the last, (n + 1,).
    codes
        Numbers of the labels, ascending within an example.
    """

    names: Sequence[str]
    starts: Int[np.ndarray, " n1"]
    codes: Int[np.ndarray, " total"]

    @classmethod
    def read(cls, texts: Shaped[np.ndarray, " n"], separator: str) -> "Labels":
        """Split texts into labels; letter case and blanks around a label do not tell labels apart.

        O(characters). A text that is None or blank has no label. The JSON text of a list of texts has
        those, whatever the separator.
        """
        import polars as pl

        column = pl.Series("label", texts.tolist(), dtype=pl.String, strict=False)
        one = pl.col("label").str.strip_chars().str.to_lowercase()
        listed = (
            pl.DataFrame({"row": np.arange(len(texts)), "label": _split(column, separator)})
            .explode("label")
            .select("row", one)
            .filter(pl.col("label").is_not_null() & (pl.col("label") != ""))
            .unique(["row", "label"])
        )
        names = listed["label"].unique().sort()
        numbers = pl.DataFrame({"label": names, "code": np.arange(len(names))})
        coded = listed.join(numbers, on="label").sort("row", "code")
        counts = np.bincount(coded["row"].to_numpy(), minlength=len(texts))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return cls(names.to_list(), starts, coded["code"].to_numpy())

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Number of labels of each example."""
        return np.diff(self.starts)

    def matrix(self, values: Float[np.ndarray, " n"]) -> "csr_matrix":
        """Return the matrix that has an example's value at each of its labels, sparse, (n, L)."""
        from scipy.sparse import csr_matrix

        repeated = np.repeat(values, self.counts)
        shape = (len(self), len(self.names))
        return csr_matrix((repeated, self.codes, self.starts), shape=shape)


def _split(column: "Series", separator: str) -> "Series":
    """Return the labels of each text as a list: what stands between separators, or what a JSON list holds."""
    import polars as pl

    split = column.str.split(separator)
    may_list = column.str.strip_chars_start().str.starts_with("[").fill_null(value=False)
    found = {row: _listed(column[row]) for row in may_list.arg_true().to_list()}
    if not any(held is not None for held in found.values()):
        return split
    lists = split.to_list()
    for row, held in found.items():
        lists[row] = lists[row] if held is None else held
    return pl.Series("label", lists, dtype=pl.List(pl.String))


def _listed(text: str) -> list[str] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_of_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_of_texts else None


def spread_over_similar(
    labels: Labels, comparable: Comparable, *, threshold: float, alpha: float
) -> "csr_matrix":
    """Return what share of a label's value each label gets: itself and those near it, (L, L), sparse.

    A label is the mean embedding of its examples, each scaled to length 1, less the mean of all examples.
    Two labels are near if the cosine of these is at least the threshold; that, times ``alpha``, is what one
    gets of the other. What a label gets adds up to 1: it takes the mean of its neighbourhood.
    O((total + L^2) dim) time; memory of L dim numbers, and 16 bytes a pair of near labels.

    Parameters
    ----------
    labels, comparable
        Of the same examples: those of ``comparable.rows``, in that order.
    """
    from scipy.sparse import csr_matrix

    directions = _directions(labels, comparable)
    n = len(labels.names)
    rows, columns, values = [np.arange(n)], [np.arange(n)], [np.ones(n)]
    for start in range(0, n, BLOCK_LABELS):
        here = directions[start : start + BLOCK_LABELS]
        for other in range(0, n, BLOCK_LABELS):
            cosines = (here @ directions[other : other + BLOCK_LABELS].T).round(9)
            near, of = np.nonzero(cosines >= threshold)
            apart = near + start != of + other
            near, of = near[apart], of[apart]
            rows.append(near + start)
            columns.append(of + other)
            values.append(alpha * cosines[near, of])
    places = (np.concatenate(rows), np.concatenate(columns))
    weights = csr_matrix((np.concatenate(values), places), shape=(n, n))
    sums = np.bincount(weights.indices, weights.data, minlength=n)
    weights.data /= sums[weights.indices]
    return weights


def _directions(labels: Labels, comparable: Comparable) -> Float[np.ndarray, "L dim"]:
    """Return the direction of each label, of length 1, or 0 for one that every example has."""
    part = comparable.part
    total = np.zeros(part.dim)
    sums = np.zeros((len(labels.names), part.dim))
    held = labels.matrix(np.ones(len(labels)))
    for start, block in part.blocks():
        units = unit_rows(block)
        total += units.sum(axis=0)
        sums += held[start : start + len(units)].T @ units
    counts = np.bincount(labels.codes, minlength=len(labels.names))[:, None]
    means = sums / counts - total / max(len(part), 1)
    means[np.linalg.norm(means, axis=1) < 1e-9] = 0.0  # nothing but rounding
    return unit_rows(means)
