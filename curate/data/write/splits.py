"""A validation split that shares no instruction with the training split."""

from typing import TYPE_CHECKING, Any

import numpy as np

from curate.contracts.budget import Budget, whole_part
from curate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from curate.store import Store


def validation_ids(store: "Store", selection_id: str, share: str, seed: int) -> frozenset[str]:
    """Draw the examples of a validation split, whole groups at a time.

    Groups are those of the pool: the same messages before the final assistant turn. They are drawn
    in a seeded uniform order that depends on no rank; one that would exceed the wanted number is
    skipped. So there are never more than wanted, and fewer only if groups are large.

    Parameters
    ----------
    share
        ``5%`` of the selected examples, or a number of them.

    Raises
    ------
    ConfigError
        The share cannot be read, or counts tokens.
    DataError
        One of the two splits would be empty.
    """
    wanted = Budget.parse(share)
    if wanted.unit not in ("share", "examples"):
        raise ConfigError(f"--validation counts examples, got {share!r}; write 5% or 500")
    picks = store.read(
        "select r.id, e.group_id from selection_rows r join examples e using (id) "
        f"where r.selection_id = '{selection_id}' order by e.group_id, r.id"
    )
    ids = np.array(picks["id"].to_pylist())
    groups = np.unique(np.array(picks["group_id"].to_pylist()), return_inverse=True)[1]
    is_share = wanted.unit == "share"
    n = whole_part(float(wanted.amount), len(ids)) if is_share else int(wanted.amount)
    chosen = draw_groups(groups, n, np.random.default_rng(seed))
    if not chosen.any() or chosen.all():
        empty = "training" if chosen.all() else "validation"
        raise DataError(
            f"--validation {share} of {len(ids)} examples in {int(groups.max(initial=-1)) + 1} "
            f"groups is {n} examples and leaves none for {empty}; give another share, or leave it out"
        )
    return frozenset(ids[chosen].tolist())


def draw_groups(
    groups: np.ndarray[Any, Any], n: int, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Return which rows are drawn, (n_rows,), at most ``n`` of them, by whole groups.

    Parameters
    ----------
    groups
        Dense codes 0..n_groups-1, (n_rows,).

    Examples
    --------
    >>> draw_groups(np.array([0, 0, 1, 2]), 2, np.random.default_rng(0)).tolist()
    [False, False, True, True]
    """
    sizes = np.bincount(groups)
    taken = np.zeros(len(sizes), dtype=bool)
    left = n
    for group in rng.permutation(len(sizes)).tolist():
        if sizes[group] <= left:
            taken[group] = True
            left -= int(sizes[group])
        if left == 0:
            break
    return np.asarray(taken[groups])
