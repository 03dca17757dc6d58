"""Figures of growth: seconds over ten and a hundred times as many rows, and the exponent they follow."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from jobs.bench.children import MIB, Finished, in_child, stopwatch
from jobs.bench.copies import (
    BLOCK,
    COPY_EVERY,
    NGRAM,
    PERMUTATIONS,
    THRESHOLD,
    made_up,
    real_texts,
)
from jobs.bench.diversity import LABELLED, LABELLED_PICKS, lazy, planted_labels
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.nearest import random_directions
from jobs.bench.paired import one_blas_thread
from jobs.bench.towards import select_rds_plus

if TYPE_CHECKING:
    from jaxtyping import Int

    from curate.algorithms.minhash import Shingles

LINEAR: Final = Goal("<=", 1.15, "exponent")
QUADRATIC: Final = Goal("<=", 2.1, "exponent")  # every pair is compared
PATIENCE_S: Final = 120.0  # a size that would take longer is left out
MEMORY_GOAL: Final = 4 * 1024 * MIB
BENCHMARK_TEXTS: Final = 5_000
DRAWN: Final = 10_000  # made-up rows that are there at once
NEIGHBOURS: Final = 10
REAL_TEXTS: Final = 15_000

Step = Callable[[int], float]  # rows to seconds


def near_duplicates(bench: Bench) -> Figure:
    """Growth of finding copies, and the memory it takes at the largest size, which is never left out."""
    n = min(REAL_TEXTS, bench.sizes.growth[-1])
    step = NearDuplicates(tuple(real_texts(bench, n)))
    grown = measure_growth(bench, step, patience_s=float("inf"))
    peak = grown.finished[-1].peak_bytes
    fits = peak < MEMORY_GOAL
    more = (
        f"; one in {COPY_EVERY} a copy in capitals; peak {peak / MIB:,.0f} MiB at {grown.rows[-1]:,} rows (goal < 4 "
        f"GiB{')' if fits else ', FELL SHORT)'}"
    )
    return grown.figure("near-duplicates-growth", "finding near-duplicates", more=more, also=fits)


def contamination(bench: Bench) -> Figure:
    """Growth of comparing rows with a benchmark."""
    more = f"; {BENCHMARK_TEXTS:,} texts of a benchmark, which are read before"
    return measure_growth(bench, find_leaks).figure(
        "contamination-growth", "finding leaks", more=more
    )


def mig(bench: Bench) -> Figure:
    """Growth of MIG, one of twenty rows picked."""
    return measure_growth(bench, pick_by_information).figure("mig-growth", "mig, 5% of the rows")


def k_nearest(bench: Bench) -> Figure:
    """Growth of the exact neighbours of every row, which compares every pair."""
    grown = measure_growth(bench, find_neighbours)
    what = f"the {NEIGHBOURS} nearest of every row, exact"
    return grown.figure("k-nearest-growth", what, goal=QUADRATIC)


def rds_plus(bench: Bench) -> Figure:
    """Growth of RDS+ from vectors in memory, one of a hundred rows selected."""
    return measure_growth(bench, select_towards).figure(
        "rds-plus-growth", "rds-plus, 1% of the rows"
    )


# How growth is measured --------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Grown:
    """How many rows there were, and what each size took, in a process of its own."""

    rows: Sequence[int]
    finished: Sequence[Finished]
    left_out: Sequence[int]

    @property
    def seconds(self) -> list[float]:
        """Of each size."""
        return [float(one.value) for one in self.finished]

    def figure(
        self, name: str, what: str, *, goal: Goal = LINEAR, more: str = "", also: bool = True
    ) -> Figure:
        """Return the exponent as a figure."""
        sizes = zip(self.rows, self.seconds, strict=True)
        listed = ", ".join(f"{n:,} rows {seconds:,.3g} s" for n, seconds in sizes)
        without = "".join(
            f"; {n:,} rows would take over {PATIENCE_S:g} s and are left out" for n in self.left_out
        )
        detail = f"{listed}{without}; one run each, on one core{more}"
        reference = f"slope of log seconds by log rows: {what}"
        value = exponent(self.rows, self.seconds)
        return judged(name, value, goal, reference, detail, also=also)


def exponent(rows: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of the line through log seconds by log rows, by least squares."""
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def measure_growth(bench: Bench, step: Step, *, patience_s: float = PATIENCE_S) -> Grown:
    """Run ever larger sizes; from the third on, one is left out that would take too long."""
    rows: list[int] = []
    finished: list[Finished] = []
    for n in bench.sizes.growth:
        if len(rows) > 1:
            seconds = [float(one.value) for one in finished]
            expected = seconds[-1] * (n / rows[-1]) ** exponent(rows, seconds)
            if expected > patience_s:
                return Grown(rows, finished, [n])
        finished.append(in_child(on_one_core, step, n, profiler=bench.profiler))
        rows.append(n)
    return Grown(rows, finished, [])


# What the children run ---------------------------------------------------------------------------


def on_one_core(step: Step, n: int) -> float:
    """Take a few rows for a warm-up, then n of them, on one core; return the seconds of these."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with one_blas_thread():
        step(min(n, 200))  # imports
        return step(n)


@final
@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Texts that are made when they are read, as a store reads them: only what finding holds is held."""

    real: tuple[str, ...]

    def text(self, at: int) -> str:
        """Return one text: a real one, whose words are others each time it comes again."""
        if at % COPY_EVERY == 1:
            return self.text(at - 1).upper()
        turn, number = divmod(at, len(self.real))
        return self.real[number].replace(" ", f"{turn} ") if turn else self.real[number]

    def __call__(self, n: int) -> float:
        """Hash the texts block by block, then find copies; return the seconds."""
        from curate.algorithms.minhash import (
            band_hashes,
            bands_and_rows,
            join,
            shingles_of,
            signatures,
        )
        from curate.algorithms.near_duplicates import find_copies

        shape = bands_and_rows(THRESHOLD, PERMUTATIONS)
        bands = np.empty((n, shape[0]), dtype=np.int32)

        def shingles(rows: "Int[np.ndarray, ' k']") -> "Shingles":
            return join(
                [
                    shingles_of(
                        [self.text(at) for at in rows[first : first + BLOCK].tolist()], NGRAM
                    )
                    for first in range(0, len(rows), BLOCK)
                ]
            )

        with stopwatch() as spent:
            for first in range(0, n, BLOCK):
                rows = np.arange(first, min(first + BLOCK, n))
                bands[rows] = band_hashes(signatures(shingles(rows), PERMUTATIONS), *shape)
            found = find_copies(bands, shingles, THRESHOLD)
        n_copies = int((found.representative != np.arange(n)).sum())
        if n_copies < 0.9 * (n // COPY_EVERY):
            raise AssertionError(f"only {n_copies:,} of {n // COPY_EVERY:,} planted copies found")
        return spent.wall_s


def find_leaks(n: int) -> float:
    """Compare made-up rows with a benchmark, one in a hundred with words of it; return the seconds."""
    from curate.algorithms.shared_runs import RunIndex, shared_runs
    from curate.algorithms.words import N_GRAM, words_of

    rng = np.random.default_rng(0)
    known = made_up(rng, BENCHMARK_TEXTS, 100)
    index = RunIndex.of([words_of(known)], N_GRAM)
    total, n_leaked = 0.0, 0
    for first in range(0, n, DRAWN):
        rows = made_up(rng, min(DRAWN, n - first), 150)
        for at in range(0, len(rows), 100):
            rows[at] += " " + " ".join(known[at % len(known)].split()[:40])
        with stopwatch() as spent:
            for at in range(0, len(rows), BLOCK):
                shared = shared_runs(index, words_of(rows[at : at + BLOCK]))
                n_leaked += int((shared.n_shared > 0).sum())
        total += spent.wall_s
    if n_leaked < n // 100:
        raise AssertionError(f"only {n_leaked:,} of {n // 100:,} planted leaks found")
    return total


def pick_by_information(n: int) -> float:
    """Pick one of twenty rows by information over labels; return the seconds."""
    values = planted_labels(n)
    with stopwatch() as spent:
        lazy(values, max(n * LABELLED_PICKS // LABELLED, 1))
    return spent.wall_s


def find_neighbours(n: int) -> float:
    """Find the nearest of every row; return the seconds."""
    from curate.algorithms.neighbours import nearest_neighbours
    from curate.contracts.view import Vectors

    points = random_directions(n, 0)
    with stopwatch() as spent:
        nearest_neighbours(Vectors(points), min(NEIGHBOURS, n - 1))
    return spent.wall_s


def select_towards(n: int) -> float:
    """Select by RDS+; return the seconds."""
    return select_rds_plus(n, 0)[0].wall_s
