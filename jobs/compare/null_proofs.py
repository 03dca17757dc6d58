"""How often a proof of nothing finds something: family-wise error and coverage on simulated null proofs.

    python jobs/compare/null_proofs.py --report reports/null-proofs.md

Every simulated method is as good as random: its trials differ from those of random by the draw of
the seed, by the draw of the evaluation examples, and by what is left, and by nothing else. A proof
should then show no difference, and its interval should hold 0.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from curate.prove.statistics import BETTER, WORSE, compare

PROOFS = 4_000
EXAMPLES = 400
SEEDS = (5, 10, 20)
ARMS = (1, 4)
REST = 0.3  # standard deviation of what neither the seed nor the example explains
NOMINAL = 0.05


@final
@dataclass(frozen=True)
class Noise:
    """What decides the error of a mean difference: its part over seeds and its part over examples.

    Both are standard errors of a mean over 10 seeds and over all examples, times 1000; an arm's
    seeds vary ``ratio`` times as much as those of random.
    """

    name: str
    seeds: float
    examples: float
    ratio: float


NOISES = (
    Noise("equal", 10, 10, 1),
    Noise("seeds dominate", 10, 1, 1),
    Noise("examples dominate", 1, 10, 1),
    Noise("equal, the arm's seeds vary 3 times as much", 10, 10, 3),
    Noise("seeds dominate, the arm's seeds vary 3 times as much", 10, 1, 3),
)


@final
@dataclass(frozen=True)
class Cell:
    """What came of the proofs of one setting: shares of proofs, and of intervals."""

    noise: Noise
    seeds: int
    arms: int
    family_wise_error: float
    coverage: float


def simulate(
    noise: Noise, seeds: int, arms: int, rng: np.random.Generator
) -> tuple[dict[str, Float[np.ndarray, "seeds n"]], Float[np.ndarray, " n"]]:
    """Return the trials of one proof in which no arm differs from random, and the tokens of examples."""
    tokens = rng.lognormal(4, 0.6, EXAMPLES).round() + 1
    hardness = rng.normal(2.0, 0.5, EXAMPLES)
    by_seed, by_example = noise.seeds / 1000 * 10**0.5, noise.examples / 1000 * EXAMPLES**0.5

    def trials(spread: float) -> Float[np.ndarray, "seeds n"]:
        draw = rng.normal(0, spread, (seeds, 1)) + rng.normal(0, by_example, EXAMPLES)
        return (hardness + draw + rng.normal(0, REST, (seeds, EXAMPLES))) * tokens

    names = [f"method {number}" for number in range(1, arms + 1)]
    return {"random": trials(by_seed), **{n: trials(by_seed * noise.ratio) for n in names}}, tokens


def measure(noise: Noise, seeds: int, arms: int, proofs: int) -> Cell:
    """Run the proofs of one setting."""
    rng = np.random.default_rng([seeds, arms, NOISES.index(noise)])
    wrong = covered = 0
    for _ in range(proofs):
        rows, tokens = simulate(noise, seeds, arms, rng)
        found = compare(rows, tokens, baseline="random", lower_is_better=True)
        methods = [one for name, one in found.items() if name != "random"]
        wrong += any(one.verdict in (BETTER, WORSE) for one in methods)
        for one in methods:
            assert one.delta_interval is not None
            holds_zero = one.delta_interval.low <= 0 <= one.delta_interval.high
            assert holds_zero == (one.verdict not in (BETTER, WORSE)), "interval against verdict"
            covered += holds_zero
    return Cell(noise, seeds, arms, wrong / proofs, covered / (proofs * arms))


def page(cells: list[Cell], proofs: int) -> Iterator[str]:
    """Yield the lines of the report."""
    yield "# Proofs of nothing\n"
    yield (
        f"{proofs} simulated proofs a row, {EXAMPLES} evaluation examples each, in which every method "
        "is exactly as good as random. *Wrong* is the share of proofs that call any method better or "
        "worse (at most 5% is promised; the standard error of a share of 5% here is "
        f"{100 * (0.05 * 0.95 / proofs) ** 0.5:.1f} points). *Covered* is the share of shown intervals "
        "that hold 0. No interval contradicted its verdict.\n"
    )
    yield "| what varies | seeds | methods | wrong | covered |"
    yield "|---|---|---|---|---|"
    for cell in cells:
        yield (
            f"| {cell.noise.name} | {cell.seeds} | {cell.arms} | {cell.family_wise_error:.1%} "
            f"| {cell.coverage:.1%} |"
        )
    worst = max(cells, key=lambda cell: cell.family_wise_error)
    least = min(cells, key=lambda cell: cell.coverage)
    yield (
        f"\nHighest share of wrong proofs: {worst.family_wise_error:.1%}; lowest coverage: "
        f"{least.coverage:.1%}. Made by `python jobs/compare/null_proofs.py`."
    )


def main() -> None:
    """Simulate, print the page, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--proofs", type=int, default=PROOFS)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    cells = [measure(*setting, given.proofs) for setting in product(NOISES, SEEDS, ARMS)]
    text = "\n".join(page(cells, given.proofs)) + "\n"
    print(text)
    if given.report:
        given.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
