"""Figures of exact cosine search: the nearest of those kept and of a target set, and DEITA's filter."""

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.inputs import SEED
from jobs.bench.paired import THREADS, Paired, fixed_threads, interleave, listed, one_blas_thread

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from curate.contracts.view import Vectors

DIM: Final = 384
KEPT_EVERY: Final = 10  # one of so many rows is kept
TARGETS: Final = 1_000
WARM_UP: Final = 500
AGREEMENT: Final = 1e-5  # faiss measures in single precision
THRESHOLD: Final = 0.9

Search = Callable[["Int[np.ndarray, ' n']"], "Float[np.ndarray, ' n']"]


def nearest_kept(bench: Bench) -> Figure:
    """Find the nearest of the kept rows to every other, against a bare flat index of faiss."""
    from curate.algorithms.nearest_kept import nearest_kept as search
    from curate.contracts.view import Vectors

    n = bench.sizes.stored // 10
    points = random_directions(n, SEED)
    is_kept = np.arange(n) % KEPT_EVERY == 0
    rows, kept = np.flatnonzero(~is_kept), np.flatnonzero(is_kept)
    targets = random_directions(min(TARGETS, n), SEED + 1)
    stored = Vectors(points)
    times, apart = _paired(
        bench, lambda some: search(stored, some, kept)[1], _flat(points, points[kept]), rows
    )
    beside, beside_apart = _paired(
        bench, lambda some: _nearest_target(stored, targets, some), _flat(points, targets), rows
    )
    agreed = max(apart, beside_apart) <= AGREEMENT
    detail = (
        f"{listed(times.costs, 3)}; {listed(times.ours, 1)} against {listed(times.reference, 1)} s; the "
        f"nearest of {len(kept):,} to {len(rows):,} vectors of {DIM}; largest difference of a cosine "
        f"{max(apart, beside_apart):.1e}{'' if agreed else ', which is too much for a comparison'}; the "
        f"nearest of {len(targets):,} target examples, in double precision: {listed(beside.costs, 3)} x, "
        f"{listed(beside.ours, 1)} s; {THREADS} thread"
    )
    reference = (
        "time of the nearest kept row of each, by that of a bare faiss.IndexFlatIP search of the "
        "same rows, already scaled to length 1"
    )
    value, goal = statistics.median(times.costs), Goal("<=", 1.3, "x")
    return judged("nearest-kept", value, goal, reference, detail, also=agreed)


def deita_filter(bench: Bench) -> Figure:
    """Keep what is not near a better row, and the published loop of one row at a time; once each."""
    from curate.algorithms.cosine import apart
    from curate.contracts.view import Vectors

    n = max(bench.sizes.stored // 100, 200)
    points = planted_copies(n)
    stored = Vectors(points)
    found: dict[tuple[str, int], list[int]] = {}

    def ours(some: int) -> None:
        found["ours", some] = apart(stored, np.arange(some), THRESHOLD).tolist()

    def reference(some: int) -> None:
        found["one by one", some] = one_by_one(points[:some])

    with fixed_threads(), one_blas_thread():
        work = [n, min(WARM_UP, n)]  # the last piece is also the untimed one
        times = interleave(bench, ours, reference, work, 1)
    same = found["ours", n] == found["one by one", n]
    detail = (
        f"one run: {times.ours[0]:.2f} against {times.reference[0]:.1f} s; {n:,} vectors of {DIM}, half of them "
        f"near another, {len(found['ours', n]):,} kept at {THRESHOLD:g}, {'all' if same else 'NOT ALL'} the "
        f"same; {THREADS} thread"
    )
    reference_text = (
        "time of gathering and scaling all kept rows for each candidate and comparing it with them, as "
        "DEITA's published code does with its batch size of 1, by that of the filter"
    )
    value, goal = times.speedups[0], Goal(">=", 20, "x")
    return judged("deita-filter", value, goal, reference_text, detail, also=same)


# What is measured --------------------------------------------------------------------------------


def _paired(
    bench: Bench, ours: Search, theirs: Search, rows: "Int[np.ndarray, ' n']"
) -> tuple[Paired, float]:
    """Time both searches; return that, and by how much a cosine differs at most."""
    found: dict[tuple[str, int], Float[np.ndarray, " n"]] = {}

    def run(side: str, search: Search, some: "Int[np.ndarray, ' k']") -> None:
        found[side, len(some)] = search(some)

    work = [rows, rows[:WARM_UP]]  # the last piece is also the untimed one
    with fixed_threads(), one_blas_thread():
        times = interleave(
            bench, lambda some: run("ours", ours, some), lambda some: run("theirs", theirs, some),
            work, bench.sizes.repeats,
        )  # fmt: skip
    apart = np.abs(found["ours", len(rows)] - found["theirs", len(rows)])
    return times, float(apart.max())


def _flat(points: "Float[np.ndarray, 'n dim']", others: "Float[np.ndarray, 'k dim']") -> Search:
    """Return a search as faiss's documentation does it."""
    import faiss

    def search(rows: "Int[np.ndarray, ' n']") -> "Float[np.ndarray, ' n']":
        index = faiss.IndexFlatIP(DIM)
        index.add(others)
        cosines, _ = index.search(points[rows], 1)
        return np.asarray(cosines[:, 0])

    return search


def _nearest_target(
    stored: "Vectors", targets: "Float[np.ndarray, 'm dim']", rows: "Int[np.ndarray, ' n']"
) -> "Float[np.ndarray, ' n']":
    """Return the highest cosine of each row with a target example, as the selectors find it."""
    from curate.algorithms.cosine import TargetCosines
    from curate.algorithms.round_robin import by_best
    from curate.contracts.view import Vectors, View

    def view_of(vectors: Vectors, target: View | None = None) -> View:
        ids = np.arange(len(vectors)).astype("S32")
        return View(ids, vectors_by_column={"embedding.vector": vectors}, target=target)

    pool = view_of(Vectors(stored.array, rows), view_of(Vectors(targets)))
    picks = by_best(TargetCosines.of(pool, "embedding.vector"))
    highest = np.empty(len(rows))
    highest[picks.rows] = picks.values
    return highest


def one_by_one(points: "Float[np.ndarray, 'n dim']") -> list[int]:
    """Go through the rows and keep each that is at most `THRESHOLD` from all kept before."""
    import torch

    kept = [0]
    for row in range(1, len(points)):
        own = torch.tensor(points[row])
        others = torch.tensor(points[kept])
        cosines = (others / others.norm(dim=1)[:, None]) @ (own / own.norm())
        if not (cosines > THRESHOLD).any():
            kept.append(row)
    return kept


def random_directions(n: int, seed: int) -> "Float[np.ndarray, 'n dim']":
    """Return vectors of length 1 in random directions, in single precision."""
    points = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def planted_copies(n: int) -> "Float[np.ndarray, 'n dim']":
    """Return vectors in a random order, half of them at a cosine of 0.8 to 1 to one of the others."""
    rng = np.random.default_rng(SEED)
    originals = random_directions(n - n // 2, SEED)
    cosine = rng.uniform(0.8, 1.0, (n // 2, 1)).astype(np.float32)
    copies = cosine * originals[: n // 2]
    copies += np.sqrt(1 - cosine**2) * random_directions(n // 2, SEED + 1)
    return np.concatenate([originals, copies])[rng.permutation(n)]
