"""Rows that begin alike, computed once: what they have in common, and which of them run together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, final

import numpy as np
from jaxtyping import Int

if TYPE_CHECKING:
    from curate.models.text.render import Rendered

LEAST_COMMON: Final = 8  # tokens in common from which rows share them: part of what decides bits
WORTH: Final = 0.1  # share of the tokens saved from which batches are cut for it; it pays from less
MOST_ROWS: Final = (
    8  # tokens of all rows of a batch, by its budget: results and keys grow with them
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class PrefixTree:
    """Rows as a tree of runs of tokens: a run goes on from its parent, and a row is a path from a root.

    A blank lies where what it stands for would, and changes nothing of what others begin with.

    Parameters
    ----------
    ids, positions
        Token ids, run after run, and the place of each token in the rows it is of, (n,).
    starts
        Where in ``ids`` each run starts, and the end of the last, (runs + 1,).
    keys
        Where in ``ids`` what each run attends to lies, its own tokens last; run after run, (k,).
    key_starts
        Where in ``keys`` each run's start, and the end of the last, (runs + 1,).
    tokens
        Where in ``ids`` each token of the rows lies, row after row.
    """

    ids: Int[np.ndarray, " n"]
    positions: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " runs1"]
    keys: Int[np.ndarray, " k"]
    key_starts: Int[np.ndarray, " runs1"]
    tokens: Int[np.ndarray, " t"]

    @classmethod
    def of(cls, rows: "Sequence[Rendered]") -> "PrefixTree":
        """Build the tree of some rendered examples, at least one, each of one row or several.

        Where runs are cut depends on neither the order of the rows nor anything but their tokens.
        O(n log n) in their tokens.
        """
        pieces = [row.planned_ids[a:b] for row in rows for a, b in row.edges]
        blanks = {
            n: row.ids[a:b]
            for n, (row, a, b) in enumerate((row, *edge) for row in rows for edge in row.edges)
            if row.blank_of is not None
        }
        order = sorted(range(len(pieces)), key=lambda number: _sortable(pieces[number]))
        common = _in_common([pieces[number] for number in order])
        ids: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        paths: list[np.ndarray] = []  # of each run: places of its ancestors' tokens and its own
        path_of: list[np.ndarray] = [np.zeros(0, np.int64)] * len(pieces)
        reached = 0
        todo = [(first, last, path_of[0]) for first, last in _alike(common, 0, len(order), 0)]
        while todo:
            first, last, path = todo.pop(0)
            depth = len(path)
            piece = pieces[order[first]]
            end = len(piece) if last - first == 1 else int(common[first + 1 : last].min())
            if end > depth:
                own = (
                    piece
                    if any(n not in blanks for n in order[first:last])
                    else blanks[order[first]]
                )
                ids.append(own[depth:end])
                positions.append(np.arange(depth, end))
                path = np.concatenate([path, np.arange(reached, reached + end - depth)])
                paths.append(path)
                reached += end - depth
            if last - first == 1:
                path_of[order[first]] = path
                continue
            todo[:0] = [(a, b, path) for a, b in _alike(common, first, last, end)]
        return cls(
            np.concatenate(ids).astype(np.int64),
            np.concatenate(positions),
            np.cumsum([0, *map(len, ids)]),
            np.concatenate(paths),
            np.cumsum([0, *map(len, paths)]),
            np.concatenate(path_of),
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class SharedPlan:
    """Batches of rows that begin alike.

    Parameters
    ----------
    batches
        Rows of each batch, as `plan_batches` gives them.
    tokens, computed
        Tokens of all rows, and those that run through the model.
    """

    batches: list[Int[np.ndarray, " b"]]
    tokens: int
    computed: int

    @property
    def saved(self) -> int:
        """Tokens that need not run."""
        return self.tokens - self.computed

    @property
    def pays(self) -> bool:
        """Whether it saves so many tokens that it takes less time."""
        return self.saved > WORTH * self.tokens


def plan_shared(
    rows: "Sequence[Rendered | str]", ids: Sequence[str], batch_tokens: int
) -> SharedPlan:
    """Cut examples into batches in which as many as possible begin alike.

    Examples are sorted by their token ids, ties by id, so the plan depends on neither the order of
    the rows nor anything else. A batch is closed when the tokens it computes would exceed the
    budget, or those of its rows eight times the budget, and in its second half: where neighbours have
    least in common. A row longer than the budget is a batch of its own; an example that could not be
    rendered is in none. O(n log n) in the tokens of the rows.

    Parameters
    ----------
    rows
        Rendered, or why they could not be.
    ids
        Distinct ids of the rows, for the ties.
    batch_tokens
        Budget in tokens that run, at least 1.
    """
    rendered = {n: row for n, row in enumerate(rows) if not isinstance(row, str) and len(row.ids)}
    order = sorted(rendered, key=lambda n: (_sortable(_first(rendered[n])), ids[n]))
    common = _in_common([_first(rendered[n]) for n in order])
    common[common < LEAST_COMMON] = 0
    lengths = np.array([len(rendered[n].ids) for n in order], dtype=np.int64)
    alone = np.array([_n_alone(rendered[n]) for n in order], dtype=np.int64)
    batches = [
        np.array(order[first:last], dtype=np.int64)
        for first, last in _cuts(common, lengths, alone, batch_tokens)
    ]
    computed = sum(
        len(PrefixTree.of([rendered[n] for n in batch.tolist()]).ids) for batch in batches
    )
    return SharedPlan(batches, int(lengths.sum()), computed)


def _cuts(
    common: Int[np.ndarray, " n"],
    lengths: Int[np.ndarray, " n"],
    alone: Int[np.ndarray, " n"],
    budget: int,
) -> list[tuple[int, int]]:
    """Return the first row of each batch and the one after its last."""
    cuts = []
    start = number = 0
    reached: list[int] = []  # tokens that run up to each row of the open batch
    whole = 0
    while number < len(lengths):
        before = reached[-1] if reached else 0
        own = int(alone[number]) - (int(common[number]) if reached else 0)
        whole += int(lengths[number])
        if reached and (before + own > budget or whole > MOST_ROWS * budget):
            late = [n for n in range(start + 1, number) if reached[n - start - 1] >= budget / 2]
            stop = min([number, *reversed(late)], key=lambda n: int(common[n]))
            cuts.append((start, stop))
            start = number = stop
            reached, whole = [], 0
            continue
        reached.append(before + own)
        number += 1
    if start < len(lengths):
        cuts.append((start, len(lengths)))
    return cuts


def _first(row: "Rendered") -> Int[np.ndarray, " n"]:
    return row.planned_ids[: row.edges[0][1]]


def _n_alone(row: "Rendered") -> int:
    """Return the tokens one example computes whose own rows may begin alike."""
    return len(row.ids) if len(row.starts) == 1 else len(PrefixTree.of([row]).ids)


def _sortable(ids: Int[np.ndarray, " n"]) -> bytes:
    """Return bytes that sort as the token ids do."""
    return ids.astype(">u4").tobytes()


def _in_common(rows: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " n"]:
    """Return how many tokens each row has in common with the one before, 0 for the first."""
    common = np.zeros(len(rows), dtype=np.int64)
    for number in range(1, len(rows)):
        n = min(len(rows[number - 1]), len(rows[number]))
        differs = rows[number - 1][:n] != rows[number][:n]
        common[number] = int(differs.argmax()) if differs.any() else n
    return common


def _alike(
    common: Int[np.ndarray, " n"], first: int, last: int, depth: int
) -> list[tuple[int, int]]:
    """Cut sorted rows, alike up to a depth, where neighbours have too little in common beyond it."""
    inner = common[first + 1 : last]
    cuts = first + 1 + np.flatnonzero(inner < depth + LEAST_COMMON)
    edges = [first, *cuts.tolist(), last]
    return list(pairwise(edges))
