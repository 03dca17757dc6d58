"""Stored vectors of a pool: their projection to a plane, and nearest neighbours."""

from typing import TYPE_CHECKING, Final

import numpy as np

from curate.errors import ConfigError, DataError
from curate.views.charts.numbers import Values
from curate.views.notebook.columns import vector_set

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store
    from curate.store.ids import Ids
    from curate.store.query.projection import Points

BLOCK_ROWS: Final = 65_536


def plane(store: "Store", column: str | None) -> "tuple[Points, Ids, tuple[float, float], str]":
    """Return vectors in two dimensions, (m, 2), their ids, shares of the variance, and their name.

    The ids are sorted; the shares say how much of the variance each dimension has. The plane is
    computed once, see `curate.store.query.projection`.
    """
    from curate.store.query.projection import FITTED

    status, name = vector_set(store, column)
    points, ids = store.projected(status.set_id, name)
    if len(ids) < 2:
        raise DataError(
            f"a map needs two vectors, but {status.alias}.{name} has {len(ids)}; ingest and score "
            "more examples"
        )
    stored = store.vectors(status.set_id, name).array
    rows = np.linspace(0, len(ids) - 1, min(len(ids), FITTED)).astype(int)
    whole = float(np.asarray(stored[rows], dtype=np.float64).var(axis=0).sum())
    first, second = (points[rows].astype(np.float64).var(axis=0) / (whole or 1.0)).tolist()
    return points, ids, (first, second), f"{status.alias}.{name}"


def nearest(store: "Store", example: str, k: int, column: str | None) -> "pa.Table":
    """Return the k examples whose vectors have the largest cosine with an example's.

    Returns
    -------
    pyarrow.Table
        ``cosine``, in [-1, 1], highest first, ties by id; then the columns of the example. The
        example itself is not among them.

    Raises
    ------
    DataError
        The example is unknown or has no vector.
    """
    import pyarrow as pa

    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}; ask for k=10 neighbours")
    status, name = vector_set(store, column)
    [own] = store.resolve_ids([example])
    stored = store.vectors(status.set_id, name)
    at = int(np.searchsorted(stored.ids, own.encode()))
    if at >= len(stored.ids) or stored.ids[at] != own.encode():
        raise DataError(
            f"example {own} has no vector {status.alias}.{name}: it could not be scored; see "
            f"pool.explain({own!r})['failures']"
        )
    cosine = _cosines(stored.array, at)
    cosine[at] = -np.inf
    order = np.argsort(-cosine, kind="stable")[: min(k, len(cosine) - 1)]
    ids = [encoded.decode("ascii") for encoded in stored.ids[order].tolist()]
    table = store.examples_by_id(ids)
    return table.add_column(0, "cosine", pa.array(cosine[order]))


def _cosines(array: "Points", at: int) -> Values:
    """Return the cosine of every vector with one of them; 0 with a vector of length 0."""
    own = np.asarray(array[at], dtype=np.float64)
    cosines = np.zeros(len(array))
    for start in range(0, len(array), BLOCK_ROWS):
        block = np.asarray(array[start : start + BLOCK_ROWS], dtype=np.float64)
        size = np.linalg.norm(block, axis=1) * np.linalg.norm(own)
        cosines[start : start + len(block)] = block @ own / np.where(size > 0, size, np.inf)
    return cosines
