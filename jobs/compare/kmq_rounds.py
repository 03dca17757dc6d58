"""Whom the rounds of iterative kMQ can reach: three ways to split a round over clusters.

``kmq_rounds.py`` splits the rounds of several pools over 512 clusters of unequal size, whose weights
are equal as in the first round of Algorithm 1, with many seeds, and prints how much of the budget
each way draws, and how many clusters and examples it never draws.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int

from curate.algorithms.cluster_draw import allocate_to_clusters

Counts = Int[np.ndarray, " k"]
Split = Callable[[int, Counts, int, int], Counts]  # total, left, round, seed

CLUSTERS: Final = 512  # of the published code, and the default
ROUNDS: Final = 3  # of the paper, and the default
POOLS: Final = ((3_072, 768), (10_000, 1_000), (100_000, 5_000))  # examples and budget
HEAD: Final = (
    "| examples | budget | rounds of | split | drawn | clusters never drawn | examples never drawn |\n"
    "|---|---|---|---|---|---|---|"
)


class Reached(NamedTuple):
    """What came of all seeds: the most that one drew, and what none can draw."""

    drawn: int
    clusters_left: int
    examples_left: int


def main(words: Sequence[str] | None = None) -> int:
    """Split with every seed, and print a table; return 0."""
    parser = argparse.ArgumentParser(prog="kmq_rounds.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args(words)
    print(HEAD)
    for examples, budget in POOLS:
        for line in lines(examples, budget, options.seeds):
            print(f"| {examples:,} | {budget:,} | {budget // ROUNDS:,} | {line} |")
    return 0


def lines(examples: int, budget: int, seeds: int) -> Iterator[str]:
    """Yield the cells of one way to split after the other."""
    sizes = cluster_sizes(examples, CLUSTERS)
    for name, split in SPLITS.items():
        found = reached(sizes, budget, seeds, split)
        yield (
            f"{name} | {found.drawn:,} | {found.clusters_left:,} of {CLUSTERS:,} | "
            f"{found.examples_left:,}"
        )


def cluster_sizes(examples: int, clusters: int) -> Counts:
    """Return sizes as unequal as k-means leaves them: at least one each, the rest by chance.

    Examples
    --------
    >>> sizes = cluster_sizes(1000, 50)
    >>> int(sizes.sum()), int(sizes.min()) >= 1
    (1000, True)
    """
    rng = np.random.default_rng(0)
    rest = rng.multinomial(examples - clusters, rng.dirichlet(np.ones(clusters)))
    return np.asarray(1 + rest, dtype=np.int64)


def reached(sizes: Counts, budget: int, seeds: int, split: Split) -> Reached:
    """Draw all rounds with every seed; an example is never drawn if its cluster never is."""
    ever = np.zeros(len(sizes), dtype=bool)
    most = 0
    for seed in range(seeds):
        left = sizes.copy()
        for number in range(ROUNDS):
            part = budget * (number + 1) // ROUNDS - budget * number // ROUNDS
            left -= split(part, left, number, seed * ROUNDS + number)
        ever |= left < sizes
        most = max(most, int(sizes.sum() - left.sum()))
    return Reached(most, int((~ever).sum()), int(sizes[~ever].sum()))


def published(total: int, left: Counts, number: int, seed: int) -> Counts:
    """Split as the published code: first the same whole number for all, then one whole number in all.

    Later rounds take what one cluster is due for what all are, and draw it by the weights.

    Examples
    --------
    >>> published(7, np.array([1, 5, 5]), 0, 0).tolist()
    [1, 2, 2]
    >>> int(published(7, np.array([1, 5, 5]), 1, 0).sum())
    2
    """
    due = total // len(left)
    return np.minimum(due, left) if number == 0 else by_chance(due, left, number, seed)


def largest_remainder(total: int, left: Counts, number: int, seed: int) -> Counts:
    """Split in equal shares, the first clusters rounded up: what `curate` did at first.

    Examples
    --------
    >>> largest_remainder(7, np.array([1, 5, 5, 5]), 0, 0).tolist()
    [1, 2, 2, 2]
    >>> largest_remainder(2, np.array([1, 5, 5, 5]), 0, 0).tolist()
    [1, 1, 0, 0]
    """
    del number, seed
    counts = np.zeros_like(left)
    while (rest := min(total, int(left.sum())) - int(counts.sum())) > 0:
        open_ = np.flatnonzero(counts < left)
        counts[open_] = np.minimum(counts[open_] + rest // len(open_), left[open_])
        if rest < len(open_):
            counts[open_[:rest]] += 1
    return counts


def by_chance(total: int, left: Counts, number: int, seed: int) -> Counts:
    """Split as `curate` does: systematic rounding, in a random order from a random start."""
    del number
    return allocate_to_clusters(total, np.full(len(left), 1 / len(left)), left, seed)


SPLITS: Final[Mapping[str, Split]] = {
    "published code": published,
    "largest remainder, ties by cluster number": largest_remainder,
    "rounded by chance, the default": by_chance,
}


if __name__ == "__main__":
    sys.exit(main())
