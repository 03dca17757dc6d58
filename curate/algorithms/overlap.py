"""How much sets share."""

from collections.abc import Collection, Sequence


def jaccard(ids: Collection[object], other: Collection[object]) -> float:
    """Return the overlap of two selections: shared examples over all examples of either, 1 if both are empty.

    Examples
    --------
    >>> jaccard(["a", "b", "c"], ["b", "c", "d"])
    0.5
    """
    first, second = frozenset(ids), frozenset(other)
    shared = len(first & second)
    union = len(first) + len(second) - shared
    return shared / union if union else 1.0


def jaccard_matrix(ids: Sequence[Collection[object]]) -> list[list[float]]:
    """Return the overlap of each selection with each."""
    sets = [frozenset(selection) for selection in ids]
    return [[jaccard(chosen, other) for other in sets] for chosen in sets]
