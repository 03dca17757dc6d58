"""Figures of what finds copies: near-duplicates against datasketch, and benchmarks that leaked."""

import os
import re
import statistics
from collections.abc import Callable
from typing import Final

import numpy as np

from jobs.bench.children import MIB, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed

NGRAM: Final = 5
THRESHOLD: Final = 0.8
PERMUTATIONS: Final = 128
BLOCK: Final = 256  # rows that a scorer is given together
COPY_EVERY: Final = 10
BENCHMARK_BYTES: Final = 50_000_000
FULL_STORE: Final = 1_000_000


def near_duplicate(bench: Bench) -> Figure:
    """Find copies among real texts on one core, against datasketch's MinHash and MinHashLSH."""
    n = max(bench.sizes.stored // 100, 200)
    texts = real_texts(bench, n)
    for at in range(0, n - 1, COPY_EVERY):
        texts[at + 1] = texts[at].upper()
    done = [in_child(_both, texts, run % 2 == 0).value for run in range(bench.sizes.runs)]
    ours, theirs, agreed = ([one[key] for one in done] for key in ("ours", "theirs", "agreed"))
    speedups = [t / o for o, t in zip(ours, theirs, strict=True)]
    detail = (
        f"{n:,} texts, one in {COPY_EVERY} a copy in capitals; {listed(ours, 2)} against "
        f"{listed(theirs, 2)} s on one core; our overlaps are exact, theirs estimates; "
        f"{statistics.median(agreed):.1%} of their copies are ours"
    )
    reference = (
        f"time of datasketch's MinHash.update_batch and MinHashLSH, {PERMUTATIONS} permutations of runs "
        f"of {NGRAM} words at {THRESHOLD:g}, by ours"
    )
    value = statistics.median(speedups)
    return judged("near-duplicate", value, Goal(">=", 1, "x"), reference, detail)


def contamination(bench: Bench) -> Figure:
    """Find leaks of 50 MB of benchmarks in 100,000 rows, in one process."""
    share = min(1.0, bench.sizes.stored / FULL_STORE)
    n, size = round(100_000 * share), round(BENCHMARK_BYTES * share)
    done = [in_child(_leaks, n, size) for _ in range(bench.sizes.repeats)]
    times = [one.value[0] for one in done]
    found = {one.value[1] for one in done}
    detail = (
        f"{n:,} rows of 150 words, {size / 1e6:,.1f} MB of benchmarks; {listed(times, 2)} s with "
        f"reading the benchmarks; {max(found)} of {n // 100:,} planted leaks found; peak "
        f"{max(one.peak_bytes for one in done) / MIB:,.0f} MiB"
    )
    reference = "seconds to compare every run of 13 words with those of the benchmarks"
    also = found == {n // 100}
    value = statistics.median(times)
    return judged("contamination", value, Goal("<", 60, "s"), reference, detail, also=also)


# What is measured --------------------------------------------------------------------------------


def real_texts(bench: Bench, n: int) -> list[str]:
    """Return real texts, over again where there are fewer."""
    examples = bench.inputs.examples("dolly_15k", n)
    real = ["\n".join(turn["content"] for turn in example.messages) for example in examples]
    return [real[at % len(real)] for at in range(n)]


def _both(texts: list[str], ours_first: bool) -> dict[str, float]:
    """Time both sides on one core; return seconds, and the share of their copies that are ours."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides: dict[str, Callable[[list[str]], set[int]]] = {"ours": _ours, "theirs": _theirs}
    order = ["ours", "theirs"] if ours_first else ["theirs", "ours"]
    seconds, copies = {}, {}
    for name in order:
        sides[name](texts[:BLOCK])  # imports
        with stopwatch() as spent:
            copies[name] = sides[name](texts)
        seconds[name] = spent.wall_s
    both = len(copies["ours"] & copies["theirs"])
    return {**seconds, "agreed": both / max(len(copies["theirs"]), 1)}


def _ours(texts: list[str]) -> set[int]:
    """Find copies as the scorers do: hashes in blocks, then lookups and exact overlaps."""
    from curate.algorithms.minhash import (
        band_hashes,
        bands_and_rows,
        join,
        shingles_of,
        signatures,
    )
    from curate.algorithms.near_duplicates import find_copies

    shape = bands_and_rows(THRESHOLD, PERMUTATIONS)
    blocks = [shingles_of(texts[at : at + BLOCK], NGRAM) for at in range(0, len(texts), BLOCK)]
    bands = [band_hashes(signatures(block, PERMUTATIONS), *shape) for block in blocks]
    found = find_copies(np.concatenate(bands), join(blocks).take, THRESHOLD)
    return set(np.flatnonzero(found.representative != np.arange(len(texts))).tolist())


def _theirs(texts: list[str]) -> set[int]:
    """Find copies as datasketch's documentation does: look each text up, and insert it if it is new."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    copies = set()
    for at, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        runs = {" ".join(words[i : i + NGRAM]) for i in range(max(len(words) - NGRAM + 1, 1))}
        signature = MinHash(PERMUTATIONS)
        signature.update_batch([run.encode() for run in runs])
        if index.query(signature):
            copies.add(at)
        else:
            index.insert(at, signature)
    return copies


def _leaks(n: int, size: int) -> tuple[float, int]:
    """Compare made-up rows, one in 100 with words of a benchmark; return seconds and how many leaked."""
    from curate.algorithms.shared_runs import RunIndex, shared_runs
    from curate.algorithms.words import N_GRAM, words_of

    rng = np.random.default_rng(0)
    known = made_up(rng, size // 700, 100)
    rows = made_up(rng, n, 150)
    for at in range(n // 100):
        rows[at * 100] += " " + " ".join(known[at % len(known)].split()[:40])
    with stopwatch() as spent:
        parts = (words_of(known[at : at + 4_096]) for at in range(0, len(known), 4_096))
        index = RunIndex.of(parts, N_GRAM)
        n_leaked = 0
        for at in range(0, n, BLOCK):
            n_leaked += int(
                (shared_runs(index, words_of(rows[at : at + BLOCK])).n_shared > 0).sum()
            )
    return spent.wall_s, n_leaked


def made_up(rng: np.random.Generator, n: int, n_words: int) -> list[str]:
    """Return texts of made-up words, drawn by Zipf's law, of 7 characters with the blank."""
    vocabulary = np.array([f"w{number:05d}" for number in range(50_000)])
    chances = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = rng.choice(len(vocabulary), size=(n, n_words), p=chances / chances.sum())
    return [" ".join(row) for row in vocabulary[drawn].tolist()]
