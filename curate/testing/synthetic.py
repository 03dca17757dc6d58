"""Synthetic pools and forward statistics that cover the corner cases of a contract."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np

from curate.contracts import Column, Expression, Need, SegmentStats, Stat, Vectors, View
from curate.contracts.view import TextBlock
from curate.errors import ConfigError
from curate.registry import get_scorer

Scores = Literal["random", "tied", "constant", "part missing", "all missing"]
Groups = Literal["mixed", "one", "single"]

VECTOR_DIM: Final = 8
HIDDEN_DIM: Final = 6
LIST_LENGTH: Final = 6


def synthetic_view(
    requires: Mapping[str, Need | Expression],
    rng: np.random.Generator,
    n: int = 90,
    scores: Scores = "random",
    groups: Groups = "mixed",
    columns: Mapping[str, Column] | None = None,
    with_tokens: bool = True,
    n_target: int = 0,
) -> View:
    """Make a view that holds what a selector or pool scorer requires; its arrays refuse writes.

    Parameters
    ----------
    requires
        As returned by ``requires()``. Columns come from the declared outputs of the needed scorers.
    scores
        ``random`` positive numbers; ``tied``: a handful of distinct values and vectors;
        ``constant``: 0.5 and one vector everywhere; ``part missing`` and ``all missing``: NaN in
        every column of floats, or of lists of floats, of every third row, or of every row.
    groups
        ``mixed``: one to six responses per prompt; ``one`` prompt for all; ``single`` responses.
    columns
        Columns by ``alias.column`` for needs without a scorer (``Need(None)``).
    n_target
        Examples of a target set with the same columns, 0 for no target set.
    """
    wanted = {**_declared(requires), **(columns or {})}
    missing = _missing_rows(scores, n)
    scalars: dict[str, np.ndarray[Any, Any]] = {}
    vectors: dict[str, Vectors] = {}
    for name, column in wanted.items():
        if column.dtype == "vector":
            vectors[name] = Vectors(_frozen(_vectors(rng, n, scores)))
        else:
            scalars[name] = _frozen(_values(column, rng, n, scores, missing))
    target = None
    if n_target:
        kind: Scores = "tied" if scores == "tied" else "random"
        target = synthetic_view(requires, rng, n_target, kind, "single", columns)
    ids = sorted(hashlib.blake2b(str(row).encode(), digest_size=16).hexdigest() for row in range(n))
    return View(
        ids=_frozen(np.array(ids, dtype="S32")),
        columns=scalars,
        groups=_frozen(_group_codes(groups, rng, n)),
        sources=_frozen(rng.integers(0, 3, size=n)),
        source_names=("first", "second", "third"),
        tokens=_frozen(rng.integers(5, 200, size=n)) if with_tokens else None,
        vectors_by_column=vectors,
        n_pool=n + 3,
        excluded={"non_finite": 3},
        texts=_texts,
        target=target,
    )


def _texts(rows: np.ndarray[Any, Any]) -> Iterator[TextBlock]:
    """Yield texts of few words, so that some are equal, in two blocks out of order."""
    for places in (np.arange(1, len(rows), 2), np.arange(0, len(rows), 2)):
        codes = rows[places] % 7
        yield places, [f"Say {code}." for code in codes], ["It is said." for _ in codes]


def synthetic_stats(
    emits: Collection[Stat],
    rng: np.random.Generator,
    n_scored: int = 5,
    truncated: bool = False,
    score_end: bool = False,
) -> SegmentStats:
    """Make the statistics of one segment, exactly those asked for; its arrays refuse writes.

    The last scored position is an end of turn, unless the segment is truncated. ``n_scored`` may be
    0: a segment whose response did not fit. As in a real pass, the head's gradient is None when no
    position counts, which ``score_end`` decides.
    """
    is_end = np.zeros(n_scored, dtype=bool)
    is_end[-1:] = not truncated
    n_counting = n_scored if score_end else int((~is_end).sum())
    has_gram = Stat.HEAD_GRAM in emits and n_counting > 0
    return SegmentStats(
        nll=_frozen(rng.gamma(2.0, 1.5, size=n_scored)),
        is_end=_frozen(is_end),
        truncated=truncated,
        n_tokens=n_scored + 4,
        entropy=_frozen(rng.gamma(2.0, 1.0, size=n_scored)) if Stat.ENTROPY in emits else None,
        head_inner=float(rng.normal()) if has_gram else None,
        head_sq_norm=float(rng.gamma(2.0)) if has_gram else None,
        head_weight_sq_norm=100.0 if Stat.HEAD_GRAM in emits else None,
        mean_hidden=_hidden(rng) if Stat.MEAN_HIDDEN in emits else None,
        weighted_hidden=_hidden(rng) if Stat.WEIGHTED_HIDDEN in emits else None,
        last_hidden=_hidden(rng) if Stat.LAST_HIDDEN in emits else None,
    )


def _declared(requires: Mapping[str, Need | Expression]) -> dict[str, Column]:
    declared: dict[str, Column] = {}
    for alias, need in requires.items():
        if isinstance(need, Expression):
            declared[alias] = Column("float", f"the expression {need.text}")
        elif need.scorer is not None:
            outputs = get_scorer(need.scorer).outputs
            declared |= {f"{alias}.{name}": column for name, column in outputs.items()}
    return declared


def _missing_rows(scores: Scores, n: int) -> np.ndarray[Any, Any]:
    if scores == "all missing":
        return np.ones(n, dtype=bool)
    return np.arange(n) % 3 == 0 if scores == "part missing" else np.zeros(n, dtype=bool)


def _values(
    column: Column,
    rng: np.random.Generator,
    n: int,
    scores: Scores,
    missing: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    constant = scores == "constant"
    match column.dtype:
        case "float":
            values = np.full(n, 0.5) if constant else rng.lognormal(-0.4, 0.5, size=n)
            values = np.ceil(values * 3) / 3 if scores == "tied" else values
            return np.where(missing, np.nan, values)
        case "int":
            return np.full(n, 7) if constant else rng.integers(1, 5 if scores == "tied" else 300, n)
        case "bool":
            return np.zeros(n, dtype=bool) if constant else rng.random(n) < 0.1
        case "text":
            return np.array([f"text {code}" for code in rng.integers(0, 4, size=n)], dtype=object)
        case "floats" | "ints":
            return _lists(rng, n, column.dtype == "floats", scores, missing)
    raise ConfigError(f"cannot make up a column of type {column.dtype!r}")


def _vectors(rng: np.random.Generator, n: int, scores: Scores) -> np.ndarray[Any, Any]:
    n_distinct = min(n, {"constant": 1, "tied": 5}.get(scores, n))
    distinct = rng.normal(size=(n_distinct, VECTOR_DIM)).astype(np.float32)
    return distinct[rng.integers(0, n_distinct, size=n)] if n_distinct < n else distinct


def _lists(
    rng: np.random.Generator, n: int, floats: bool, scores: Scores, missing: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Make lists of one length, whole numbers from 1 to 8; those of missing rows are NaN."""
    n_distinct = min(n, {"constant": 1, "tied": 5}.get(scores, n))
    distinct = rng.integers(1, 9, size=(n_distinct, LIST_LENGTH))
    values = distinct[rng.integers(0, n_distinct, size=n)] if n_distinct < n else distinct
    matrix = values.astype(np.float32 if floats else np.int32)
    if floats:
        matrix[missing] = np.nan
    lists = np.empty(n, dtype=object)
    lists[:] = [_frozen(row) for row in matrix]
    return lists


def _group_codes(groups: Groups, rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    if groups == "one":
        return np.zeros(n, dtype=np.int64)
    if groups == "single":
        return rng.permutation(n)
    sizes = rng.integers(1, 7, size=n)
    codes = np.repeat(np.arange(n), sizes)[:n]
    return rng.permutation(codes)


def _hidden(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return _frozen(rng.normal(size=HIDDEN_DIM))


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.setflags(write=False)
    return array
