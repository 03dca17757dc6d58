"""How the rows of some examples lie in padded arrays, and how their scored positions are gathered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from curate.models.passes.device_batch import to_device
from curate.models.text.render import Rendered

MAX_SHRINK: Final = 0.8  # a row shorter than this share of the longest starts another array


@final
@dataclass(frozen=True, slots=True, eq=False)
class RowArray:
    """Rows that run together, padded on the right.

    Parameters
    ----------
    ids
        Token ids, (rows, width).
    lengths
        Tokens of each row.
    places
        Scored positions in the flattened array, (T,).
    examples
        Which example each row belongs to.
    """

    ids: Int[np.ndarray, "rows width"]
    lengths: tuple[int, ...]
    places: Int[np.ndarray, " T"]
    examples: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Arrays that hold all rows of some examples.

    Examples of one row each lie in one array, in their order. Rows of others are sorted by length
    and cut into arrays of which at most a fifth is padding.

    Parameters
    ----------
    arrays
        What runs.
    order
        Puts the scored positions of the arrays, one after the other, into the order of the
        examples; None where they are in it.
    last
        Array, and row in it, of each example's last row.
    """

    arrays: tuple[RowArray, ...]
    order: Int[np.ndarray, " T"] | None
    last: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, rendered: Sequence[Rendered]) -> "Layout":
        """Lay out some examples, at least one."""
        if all(len(example.starts) == 1 for example in rendered):
            pieces = [(n, 0, len(example.ids)) for n, example in enumerate(rendered)]
            first = tuple((0, n) for n in range(len(rendered)))
            return cls((_array(rendered, pieces),), None, first)
        pieces = [
            (number, start, stop)
            for number, example in enumerate(rendered)
            for start, stop in example.edges
        ]
        pieces.sort(key=lambda piece: piece[1] - piece[2])
        groups: list[list[tuple[int, int, int]]] = []
        for piece in pieces:
            longest = groups[-1][0][2] - groups[-1][0][1] if groups else 0
            if piece[2] - piece[1] < MAX_SHRINK * longest or not groups:
                groups.append([])
            groups[-1].append(piece)
        last_start = [example.starts[-1] for example in rendered]
        last = [(0, 0)] * len(rendered)
        for a, group in enumerate(groups):
            for r, (number, start, _) in enumerate(group):
                if start == last_start[number]:
                    last[number] = (a, r)
        offsets = np.cumsum([0, *(len(example.positions) for example in rendered)])
        places = [
            offsets[number] + np.flatnonzero(_inside(rendered[number], start, stop))
            for group in groups
            for number, start, stop in group
        ]
        order = np.argsort(np.concatenate(places), kind="stable")
        return cls(tuple(_array(rendered, group) for group in groups), order, tuple(last))

    def scored(
        self, run: Callable[[Int[np.ndarray, "rows width"]], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run every array; return the states at all scored positions, (T, dim), and those of each array.

        Parameters
        ----------
        run
            Hidden states, (rows, width, dim), of token ids.
        """
        states = [run(array.ids) for array in self.arrays]
        picked = [
            hidden.reshape(-1, hidden.shape[-1]).index_select(
                0, to_device(array.places, str(hidden.device))
            )
            for hidden, array in zip(states, self.arrays, strict=True)
        ]
        if self.order is None:
            return picked[0], states
        together = torch.cat(picked)
        return together.index_select(0, to_device(self.order, str(together.device))), states

    def pooled(
        self, states: Sequence[Tensor], pool: Callable[[Tensor, Sequence[int]], Tensor]
    ) -> Float[np.ndarray, "n dim"]:
        """Pool the last row of each example: the conversation as the model last sees it.

        Parameters
        ----------
        states
            Of each array, from `scored`.
        pool
            A vector for each row of some states, given the rows' lengths.
        """
        vectors = [
            pool(hidden, array.lengths).cpu().numpy()
            for hidden, array in zip(states, self.arrays, strict=True)
        ]
        if self.order is None:
            only: np.ndarray = vectors[0]
            return only
        return np.stack([vectors[a][r] for a, r in self.last])


def _inside(rendered: Rendered, start: int, stop: int) -> np.ndarray:
    return (rendered.positions >= start) & (rendered.positions < stop)


def _array(rendered: Sequence[Rendered], pieces: Sequence[tuple[int, int, int]]) -> RowArray:
    lengths = tuple(stop - start for _, start, stop in pieces)
    width = max(lengths)
    ids = np.zeros((len(pieces), width), dtype=np.int64)
    places = []
    for row, (number, start, stop) in enumerate(pieces):
        example = rendered[number]
        ids[row, : stop - start] = example.ids[start:stop]
        positions = (
            example.positions
            if len(example.starts) == 1
            else example.positions[_inside(example, start, stop)]
        )
        places.append(positions.astype(np.int64) - start + row * width)
    return RowArray(ids, lengths, np.concatenate(places), tuple(number for number, _, _ in pieces))
