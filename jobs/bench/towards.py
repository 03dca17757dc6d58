"""Figures of selecting towards a target set: RDS+ from stored vectors, and the memory of GOT-D's transport."""

import statistics
from typing import TYPE_CHECKING, Final

import numpy as np

from jobs.bench.children import MIB, Spent, in_child, peak_bytes, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import THREADS, listed, one_blas_thread

if TYPE_CHECKING:
    from curate.contracts.view import Vectors, View

DIM: Final = 384
TARGETS: Final = 100
SHARE: Final = 100  # one of so many rows is selected
TRANSPORT_DIM: Final = 64
TRANSPORT_TARGETS: Final = 500
PASSES: Final = 3  # what is held does not depend on how many
BLOCK: Final = 65_536


def rds_plus(bench: Bench) -> Figure:
    """Select a hundredth of a pool by the vectors that are stored, its target examples taking turns."""
    n = bench.sizes.stored
    done = [
        in_child(select_rds_plus, n, seed, profiler=bench.profiler)
        for seed in range(bench.sizes.repeats)
    ]
    times = [one.value[0].wall_s for one in done]
    over = max(one.peak_bytes - one.value[1] for one in done) / MIB
    detail = (
        f"{n:,} vectors of {DIM} in memory, {TARGETS} target examples, {n // SHARE:,} selected with reasons; "
        f"{listed(times)} s; peak {over:,.0f} MiB over the input; {THREADS} thread"
    )
    what = f"rds-plus, 1% of {n:,} examples towards {TARGETS} target examples, from stored vectors"
    return judged("rds-plus", statistics.median(times), Goal("<", 10, "s"), what, detail)


def got_d(bench: Bench) -> Figure:
    """Compare the peak memory of the transport of a large pool with that of a hundredth of it."""
    sizes = bench.sizes.stored // 100, bench.sizes.stored
    over, times = [], []
    for n in sizes:
        done = in_child(transport_once, n, profiler=bench.profiler)
        spent, before = done.value
        over.append((done.peak_bytes - before) / MIB)
        times.append(spent.wall_s)
    detail = (
        f"{over[0]:,.0f} MiB over the input of {sizes[0]:,} vectors, {over[1]:,.0f} MiB over that of {sizes[1]:,}; "
        f"{TRANSPORT_DIM} components, {PASSES} passes in {listed(times, 1)} s; a matrix of all costs would "
        f"be {8 * sizes[1] * TRANSPORT_TARGETS / MIB:,.0f} MiB; {THREADS} thread"
    )
    reference = (
        f"peak memory of the optimal transport from {sizes[1]:,} examples to {TRANSPORT_TARGETS} target "
        f"examples, less that from {sizes[0]:,}, both over their input"
    )
    return judged("got-d", over[1] - over[0], Goal("<=", 64, "MiB"), reference, detail)


# What the children run ---------------------------------------------------------------------------


def select_rds_plus(n: int, seed: int) -> tuple[Spent, int]:
    """Select by RDS+; return what it took, and the memory held before it began."""
    from curate.contracts.budget import Budget
    from curate_selectors.rds_plus import RDSPlus

    view = view_of(random_vectors(n, DIM, seed), random_vectors(TARGETS, DIM, seed + 1))
    with one_blas_thread():
        before = peak_bytes()
        with stopwatch() as spent:
            budget = Budget(max(n // SHARE, 1))
            RDSPlus().select(view, budget, np.random.default_rng(seed))
    return spent, before


def transport_once(n: int) -> tuple[Spent, int]:
    """Take a few passes of the transport; return what they took, and the memory held before."""
    from curate.algorithms.cosine import TargetCosines
    from curate.algorithms.transport import transport

    target = random_vectors(TRANSPORT_TARGETS, TRANSPORT_DIM, 1)
    view = view_of(random_vectors(n, TRANSPORT_DIM, 0), target)
    with one_blas_thread():
        before = peak_bytes()
        with stopwatch() as spent:
            cosines = TargetCosines.of(view, "embedding.vector")
            transport(cosines, relative_epsilon=0.05, tolerance=1e-6, max_passes=PASSES)
    return spent, before


def view_of(pool: "Vectors", target: "Vectors") -> "View":
    """Return a view of a pool and its target set with nothing but these embeddings."""
    from curate.contracts.view import View

    pool_ids, target_ids = (
        np.char.zfill(np.arange(len(vectors)).astype("S32"), 32) for vectors in (pool, target)
    )
    beside = View(target_ids, vectors_by_column={"embedding.vector": target})
    return View(pool_ids, vectors_by_column={"embedding.vector": pool}, target=beside)


def random_vectors(n: int, dim: int, seed: int) -> "Vectors":
    """Return vectors in single precision, drawn in blocks so that nothing else is held for them."""
    from curate.contracts.view import Vectors

    rng = np.random.default_rng(seed)
    drawn = np.empty((n, dim), dtype=np.float32)
    for start in range(0, n, BLOCK):
        rng.standard_normal(out=drawn[start : start + BLOCK], dtype=np.float32)
    return Vectors(drawn)
