"""Ranks inside groups, without a loop over the groups."""

import numpy as np
from jaxtyping import Float, Int


def places_in_group(
    keys: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rank rows inside their group by ascending key, equal keys in row order.

    O(n log n) time, a few arrays of n.

    Parameters
    ----------
    keys
        What to rank by, without NaN; negate scores of which more is better.
    groups
        Any integer code per row.

    Returns
    -------
    by_group, places, sizes
        Rows sorted by group and, inside it, by key; and per row, in row order, its place in its
        group from 1 and the size of that group.

    Examples
    --------
    >>> keys, groups = np.array([3.0, 1.0, 2.0, 1.0]), np.array([7, 5, 7, 7])
    >>> by_group, places, sizes = places_in_group(keys, groups)
    >>> by_group.tolist(), places.tolist(), sizes.tolist()
    ([1, 3, 2, 0], [3, 1, 2, 1], [3, 1, 3, 3])
    """
    n = len(keys)
    by_group = np.lexsort((keys, groups))
    sorted_groups = groups[by_group]
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=sorted_groups[:1] - 1))
    lengths = np.diff(starts, append=n)
    places, sizes = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    places[by_group] = np.arange(1, n + 1) - np.repeat(starts, lengths)
    sizes[by_group] = np.repeat(lengths, lengths)
    return by_group, places, sizes
