"""faiss, imported at first use, and flat indexes on the machine's GPUs where its build for them is installed."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float, Int

from curate.errors import MissingPackageError

if TYPE_CHECKING:
    from types import ModuleType

MOST_ON_CARDS: Final = 2_048  # neighbours that an index on a GPU can return


def load_faiss(what: str) -> "ModuleType":
    """Return faiss; raise `MissingPackageError` that says ``what`` needs it."""
    try:
        import faiss
    except ImportError as error:
        raise MissingPackageError(
            f"{what} needs faiss, which is not installed; type: pip install 'curate-sft[cpu]' "
            "(or 'curate-sft[gpu]', never both: they overwrite each other)"
        ) from error
    return faiss


def n_cards() -> int:
    """Return how many GPUs faiss can use: none without its build for them, or without faiss."""
    try:
        return int(load_faiss("").get_num_gpus())
    except (MissingPackageError, AttributeError):
        return 0


def flat_index(vectors: Float[np.ndarray, "n dim"], most: int) -> Any:
    """Return an index of squared Euclidean distances, on the GPUs if there are any and it can be there.

    Parameters
    ----------
    vectors
        In single precision.
    most
        Neighbours it will be asked for.
    """
    faiss = load_faiss("a search for neighbours")
    index = faiss.IndexFlatL2(vectors.shape[1])
    if most <= MOST_ON_CARDS and n_cards():
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(vectors)
    return index


def search(
    index: Any, vectors: Float[np.ndarray, "n dim"], count: int
) -> tuple[Float[np.ndarray, "n count"], Int[np.ndarray, "n count"]]:
    """Return squared distances and numbers of the nearest, nearest first; infinity and -1 where there are none."""
    squared, nearest = index.search(vectors, count)
    return np.where(nearest < 0, np.inf, squared).astype(np.float32), nearest
