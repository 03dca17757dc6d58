"""Figures of kMQ, splitting a budget over clusters and drawing from them, and of MIG's lazy greedy."""

import statistics
from typing import TYPE_CHECKING, Final

import numpy as np

from jobs.bench.children import MIB, Spent, in_child, peak_bytes, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import interleave, listed

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from scipy.sparse import csr_matrix

CLUSTERS: Final = 4_096
SHARE: Final = 20  # one of so many rows is drawn
MEMORY_GOAL: Final = 1024 * MIB
LABELS: Final = 800
LABELLED: Final = 20_000
LABELLED_PICKS: Final = 1_000


def kmq(bench: Bench) -> Figure:
    """Draw a twentieth of a pool from its clusters, and the loop that published code has for it."""
    n = bench.sizes.stored
    done = [
        in_child(sample_once, n, seed, profiler=bench.profiler)
        for seed in range(bench.sizes.repeats)
    ]
    times = [one.value[0].wall_s for one in done]
    over = max(one.peak_bytes - one.value[1] for one in done)
    fits = over <= MEMORY_GOAL
    codes, quality = planted_clusters(n, 0)
    rng = np.random.default_rng(0)
    paired = interleave(
        bench, lambda _: sample(codes, quality, rng), lambda _: cluster_loop(codes, quality), [0],
        bench.sizes.runs,
    )  # fmt: skip
    detail = (
        f"{n:,} rows, {CLUSTERS:,} clusters, {n // SHARE:,} drawn; {listed(times, 3)} s; peak "
        f"{over / MIB:,.0f} MiB over the input (goal <= 1 GiB{')' if fits else ', FELL SHORT)'}; "
        f"{listed(paired.speedups, 1)} times as fast as np.where(labels == i) and "
        "np.random.choice(replace=False, p) for every cluster"
    )
    reference = f"kmq after k-means: chances, grouping, split and draw of {n:,} rows"
    goal = Goal("<", 2, "s")
    return judged("kmq", statistics.median(times), goal, reference, detail, also=fits)


def mig(bench: Bench) -> Figure:
    """Pick by information over labels, and by the published loop over a dense matrix; once each."""
    n = min(LABELLED, bench.sizes.stored)
    k = n * LABELLED_PICKS // LABELLED
    values = planted_labels(n)
    whole = values.toarray()
    found: dict[str, list[int]] = {}

    def ours(_: int) -> None:
        found["ours"] = lazy(values, k)

    def reference(_: int) -> None:
        found["dense"] = every_row_before_each_pick(whole, k)

    paired = interleave(bench, ours, reference, [0], 1)
    same = found["ours"] == found["dense"]
    detail = (
        f"one run: {paired.ours[0]:.3f} against {paired.reference[0]:.1f} s; {n:,} rows, {LABELS} labels, "
        f"{values.nnz / n:.0f} of them a row, {k:,} picks, {'all' if same else 'NOT ALL'} the same"
    )
    reference_text = (
        "time of evaluating every row of a dense matrix before each pick, as MIG's published code does, by "
        "that of the lazy greedy"
    )
    goal = Goal(">=", 50, "x")
    return judged("mig", paired.speedups[0], goal, reference_text, detail, also=same)


# What is measured --------------------------------------------------------------------------------


def sample_once(n: int, seed: int) -> tuple[Spent, int]:
    """Draw once, in a process of its own; return what it took, and the memory held before."""
    codes, quality = planted_clusters(n, seed)
    sample(codes[:CLUSTERS], quality[:CLUSTERS], np.random.default_rng(seed))  # imports
    before = peak_bytes()
    with stopwatch() as spent:
        sample(codes, quality, np.random.default_rng(seed))
    return spent, before


def sample(
    codes: "Int[np.ndarray, ' n']", quality: "Float[np.ndarray, ' n']", rng: np.random.Generator
) -> "Int[np.ndarray, ' m']":
    """Do what the selector does with the clusters it found."""
    from curate.algorithms.cluster_draw import (
        allocate_to_clusters,
        draw_from_clusters,
        draw_log_weights,
        gumbel_keys,
    )
    from curate.algorithms.groups import places_in_group

    keys = gumbel_keys(draw_log_weights(quality, "softmax", 1.0), rng)
    places = places_in_group(-keys, codes)[1]
    sizes = np.bincount(codes, minlength=CLUSTERS)
    return draw_from_clusters(
        places, codes, allocate_to_clusters(len(codes) // SHARE, sizes / len(codes), sizes, 0)
    )


def cluster_loop(
    codes: "Int[np.ndarray, ' n']", quality: "Float[np.ndarray, ' n']"
) -> "list[Int[np.ndarray, ' c']]":
    """Find and draw the rows of each cluster in turn, its share rounded down."""
    rng = np.random.default_rng(0)
    picks = []
    for cluster in range(CLUSTERS):
        rows = np.where(codes == cluster)[0]
        if len(rows) < SHARE:
            continue
        chances = np.exp(quality[rows])
        chances /= chances.sum()
        picks.append(rng.choice(rows, len(rows) // SHARE, replace=False, p=chances))
    return picks


def planted_clusters(n: int, seed: int) -> "tuple[Int[np.ndarray, ' n'], Float[np.ndarray, ' n']]":
    """Return clusters of uneven sizes in a shuffled order, and a quality of each row."""
    rng = np.random.default_rng(seed)
    shares = rng.gamma(2.0, 1.0, CLUSTERS)
    codes = rng.choice(CLUSTERS, size=n, p=shares / shares.sum())
    return codes, rng.normal(0.0, 1.0, n)


def lazy(values: "csr_matrix", k: int) -> list[int]:
    """Do what the selector does once labels are read."""
    from curate.algorithms.information_gain import Information, greedy_information

    weights = np.ones(values.shape[0])
    picked = greedy_information(values, weights, k, information=Information(), gain="first-order")
    picks: list[int] = picked.picks.tolist()
    return picks


def every_row_before_each_pick(values: "Float[np.ndarray, 'n l']", k: int) -> list[int]:
    """Evaluate all rows that are left, take the best, copy what remains."""
    x = np.zeros(values.shape[1])
    left = np.ones(len(values), dtype=bool)
    picks: list[int] = []
    for _ in range(k):
        rows = np.flatnonzero(left)
        gains = (values[left] @ (0.8 * (x + 1e-6) ** -0.2)).round(9)
        best = int(rows[gains.argmax()])
        left[best] = False
        picks.append(best)
        x += values[best]
    return picks


def planted_labels(n: int) -> "csr_matrix":
    """Return a score at one to five labels of each row, some labels far more frequent than others."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, LABELS + 1)
    counts = rng.integers(1, 6, n)
    labels = rng.choice(LABELS, counts.sum(), p=shares / shares.sum())
    rows = np.repeat(np.arange(n), counts)
    held = csr_matrix((np.ones(len(rows)), (rows, labels)), shape=(n, LABELS))
    held.data[:] = rng.uniform(1, 36, n)[np.repeat(np.arange(n), np.diff(held.indptr))]
    return held
