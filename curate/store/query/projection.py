"""The vectors of a score set projected to two dimensions, computed once and cached."""

import hashlib
import importlib.util
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from curate.store.handle import StoreHandle
from curate.store.ids import Ids
from curate.store.parts import atomic_path
from curate.store.scores import vectors
from curate.store.scores.vectors import BLOCK_ROWS

Points = np.ndarray[Any, np.dtype[np.float32]]
Projected = tuple[Points, Ids]
_BUILDING: Final = threading.Lock()  # threads share the name of a temporary file
FITTED: Final = 50_000  # vectors the axes are computed from
UMAP_FITTED: Final = 10_000  # vectors UMAP lays out; the others are placed among them
UMAP_FEWEST: Final = 32  # vectors that have neighbours to speak of


def best_layout(n: int) -> str:
    """Return how n vectors can be placed best here: ``umap`` where it is installed, else ``pca``."""
    found = importlib.util.find_spec("umap") if n >= UMAP_FEWEST else None
    # A folder that happens to have this name is found as well, but has no origin.
    return "umap" if found is not None and found.origin is not None else "pca"


def projected(store: StoreHandle, set_id: str, column: str, by: str = "pca") -> Projected:
    """Return stored vectors in two dimensions, (m, 2), and their ids, sorted.

    ``pca``: the first two principal components. The axes are those of `FITTED` vectors drawn evenly,
    or of all if there are fewer; every vector is projected. Deterministic. A component with no
    variance is 0. ``umap``: UMAP of `UMAP_FITTED` vectors drawn evenly, by umap-learn with a fixed
    seed, and the others placed among them; minutes for 100,000 vectors. The first call for a state of
    the set reads all its vectors, the next ones a file in the cache.
    """
    stored = vectors.cached(store, set_id, column)
    name = f"{set_id}-{column}-{_state(stored.ids)}-{'2d' if by == 'pca' else by}.npy"
    path = store.cache / name
    with _BUILDING:
        if not path.exists():
            points = _project(stored.array) if by == "pca" else _umap(stored.array)
            with atomic_path(path) as temporary:
                _save(temporary, points)
    return np.load(path), stored.ids


def _umap(array: Points) -> Points:
    import umap  # lazy: it need not be installed, and compiles for seconds

    n = len(array)
    drawn = np.linspace(0, n - 1, min(n, UMAP_FITTED)).astype(int)
    layout = umap.UMAP(n_components=2, random_state=0, n_jobs=1)
    points = np.zeros((n, 2), dtype=np.float32)
    points[drawn] = layout.fit_transform(np.asarray(array[drawn], dtype=np.float32))
    others = np.setdiff1d(np.arange(n), drawn)
    for low in range(0, len(others), BLOCK_ROWS):
        block = others[low : low + BLOCK_ROWS]
        points[block] = layout.transform(np.asarray(array[block], dtype=np.float32))
    return points


def _save(path: Path, points: Points) -> None:
    with path.open("wb") as file:  # to a path NumPy would add its own ending
        np.save(file, points)


def _state(ids: Ids) -> str:
    return hashlib.blake2b(np.ascontiguousarray(ids).data, digest_size=8).hexdigest()


def _project(array: Points) -> Points:
    n = len(array)
    points = np.zeros((n, 2), dtype=np.float32)
    if n < 2:
        return points
    sample = np.asarray(array[np.linspace(0, n - 1, min(n, FITTED)).astype(int)], dtype=np.float64)
    mean = sample.mean(axis=0)
    axes = _axes(sample - mean)
    for low in range(0, n, BLOCK_ROWS):
        block = np.asarray(array[low : low + BLOCK_ROWS], dtype=np.float64) - mean
        points[low : low + len(block), : axes.shape[1]] = block @ axes
    return points


def _axes(centred: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    """Return the directions of largest variance, (dim, 2 or fewer), each with a fixed sign."""
    from sklearn.utils.extmath import randomized_svd

    if not centred.any():
        return np.zeros((centred.shape[1], 0))
    k = min(2, *centred.shape)
    _, spread, axes = randomized_svd(centred, n_components=k, random_state=0)
    axes = axes[spread > 1e-9 * spread[0]]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return np.asarray((axes * signs[:, None]).T)
