"""Made-up views of any size, with whatever a selector reads: cheap to make, and shaped as a store hands them out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import Column, Expression, Need
from curate.contracts.view import Vectors, View
from curate.registry import get_scorer
from jobs.bench.stored import GROUP

if TYPE_CHECKING:
    from jaxtyping import Int, Shaped

    Array = np.ndarray[Any, Any]

DIM: Final = 32  # components of each vector
POINTS: Final = 12  # of each trajectory
WORDS: Final = (10, 30)  # of each text
VOCABULARY: Final = 10_000  # words, the k-th of which comes 1/k times as often as the first
SOURCES: Final = tuple(f"source{code}" for code in range(7))
LABELS: Final = 200  # pairs of labels
CLUSTERS: Final = 1_024
TARGETS: Final = 100  # examples of a target set
_DIGITS: Final = 10


def made_view(
    requires: "Mapping[str, Need | Expression]", n: int, seed: int = 0, *, targets: int = 0
) -> View:
    """Return a view of n examples with the columns that ``requires`` declares, and a target set if asked.

    Numbers are drawn from (0, 1), vectors from the normal distribution, words by Zipf's law; four examples
    share an instruction. Expressions called ``labels`` or ``by`` are text, any other is a number.
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, Array] = {}
    vectors: dict[str, Vectors] = {}
    for alias, need in requires.items():
        if isinstance(need, Expression):
            columns[alias] = _text(alias, n, rng) if alias in _TEXTS else rng.random(n)
        elif need.scorer is None:
            vectors[f"{alias}.vector"] = _vectors(rng, n, DIM)
        else:
            _add_columns(columns, vectors, alias, get_scorer(need.scorer).outputs, n, rng)
    return View(
        ids=_ids(n),
        columns=columns,
        groups=rng.permutation(n) // GROUP,
        sources=rng.integers(0, len(SOURCES), n),
        source_names=SOURCES,
        tokens=rng.integers(5, 200, n),
        vectors_by_column=vectors,
        target=made_view(requires, targets, seed + 1) if targets else None,
    )


def _add_columns(
    columns: "dict[str, Array]",
    vectors: dict[str, Vectors],
    alias: str,
    outputs: Mapping[str, Column],
    n: int,
    rng: np.random.Generator,
) -> None:
    as_long = any(column.dtype == "floats" for column in outputs.values())  # and so in one matrix
    for field, column in outputs.items():
        name = f"{alias}.{field}"
        if column.dtype == "vector":
            vectors[name] = _vectors(rng, n, DIM)
        elif column.dtype in ("floats", "ints") and as_long:
            vectors[name] = _vectors(rng, n, POINTS)
        elif column.dtype == "ints":
            columns[name] = _words(rng, n)
        elif column.dtype == "int":
            columns[name] = rng.integers(0, _distinct(name, n), n)
        elif column.dtype == "bool":
            columns[name] = rng.random(n) < 0.01
        elif column.dtype == "text":
            columns[name] = _text("", n, rng)
        else:
            columns[name] = rng.random(n)


def _distinct(name: str, n: int) -> int:
    """Return how many whole numbers a column has: clusters of copies are small, those of vectors few."""
    return {"near_duplicate.cluster": n, "clusters.cluster": CLUSTERS}.get(name, 500)


_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "by": SOURCES,
    "labels": tuple(f"label {code}, label {code * 7 % LABELS}" for code in range(LABELS)),
}


def _text(alias: str, n: int, rng: np.random.Generator) -> "Shaped[np.ndarray, ' n']":
    texts = np.array(_TEXTS.get(alias, ("first", "second")), dtype=object)
    return np.asarray(texts[rng.integers(0, len(texts), n)])


def _vectors(rng: np.random.Generator, n: int, dim: int) -> Vectors:
    return Vectors(rng.standard_normal((n, dim), dtype=np.float32))


def _words(rng: np.random.Generator, n: int) -> "Shaped[np.ndarray, ' n']":
    lengths = rng.integers(*WORDS, n)
    ends = np.cumsum(lengths)
    drawn = (VOCABULARY ** rng.random(int(ends[-1]), dtype=np.float32)).astype(np.int32)
    lists = np.empty(n, dtype=object)
    lists[:] = np.split(drawn, ends[:-1])
    return lists


def _ids(n: int) -> "Shaped[np.ndarray, ' n']":
    digits = np.full((n, 32), ord("0"), dtype=np.uint8)
    numbers: Int[np.ndarray, " n"] = np.arange(n)
    for place in range(_DIGITS):
        digits[:, 31 - place] += (numbers // 10**place % 10).astype(np.uint8)
    return digits.view("S32").ravel()
