"""Entropic optimal transport from a pool to a target set, by its semi-dual: memory without the pool."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float

from curate.algorithms.cosine import TargetCosines

ENTRIES: Final = 1 << 22  # costs of a block, and of the sample whose median is taken
MEMORY: Final = 20  # earlier steps that L-BFGS looks back on


@final
@dataclass(frozen=True, slots=True, eq=False)
class Transport:
    """The dual solution of an entropic transport between uniform weights.

    Parameters
    ----------
    source
        Potential of each candidate: how the distance grows with its weight, up to a constant, (n,).
    target
        Potential of each target example; its mean is 0, (m,).
    epsilon
        Strength of the entropy, in units of the cost.
    residual
        How far the plan's weights of target examples are from what they should be, summed.
    passes
        Passes over the pool.
    """

    source: Float[np.ndarray, " n"]
    target: Float[np.ndarray, " m"]
    epsilon: float
    residual: float
    passes: int


def transport(
    cosines: TargetCosines, *, relative_epsilon: float, tolerance: float, max_passes: int
) -> Transport:
    """Solve the transport from all candidates to all target examples, both with uniform weights.

    The cost of a pair is its squared distance on the unit sphere, 2 - 2 cosine. Only the potentials of
    the target examples are unknowns: L-BFGS maximises the concave semi-dual, whose value and gradient
    are sums over candidates, taken block by block in double precision. O(n m dim) time a pass, O(m)
    memory beyond a block and one number a candidate.

    Parameters
    ----------
    relative_epsilon
        Strength of the entropy as a multiple of the median cost, which is that of evenly spaced
        candidates.
    tolerance
        Largest residual; passes end once it is met.
    max_passes
        Passes at most. The residual says whether they were enough.
    """
    epsilon = relative_epsilon * _median_cost(cosines)
    m = cosines.n_targets
    blocks = _Blocks.of(cosines)
    n_passes = 0

    def negative(scaled: Float[np.ndarray, " m"]) -> tuple[float, Float[np.ndarray, " m"]]:
        nonlocal n_passes
        n_passes += 1
        total, weights = 0.0, np.zeros(m)
        for _, potentials, plan in blocks.plans(scaled * epsilon, epsilon):
            total += float(potentials.sum())
            weights += plan.sum(axis=0)
        value = total / cosines.n_rows / epsilon + scaled.mean()
        return -float(value), weights / cosines.n_rows - 1 / m

    scaled, residual = _minimum(negative, np.zeros(m), tolerance, max_passes)
    target = (scaled - scaled.mean()) * epsilon
    return Transport(_potentials(blocks, target, epsilon), target, epsilon, residual, n_passes)


def source_potentials(
    cosines: TargetCosines, target: Float[np.ndarray, " m"], epsilon: float
) -> Float[np.ndarray, " n"]:
    """Return the potentials of candidates that belong to given ones of the target examples.

    One pass, also for candidates that were not there when the target's potentials were found.
    """
    return _potentials(_Blocks.of(cosines), target, epsilon)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Cosines of all pairs, block by block; kept from pass to pass where one block holds them all."""

    cosines: TargetCosines
    height: int
    held: Float[np.ndarray, "n m"] | None

    @classmethod
    def of(cls, cosines: TargetCosines) -> "_Blocks":
        height = max(1, ENTRIES // cosines.n_targets)
        fits = cosines.n_rows <= height
        everything = np.arange(cosines.n_rows), np.arange(cosines.n_targets)
        return cls(cosines, height, cosines.block(*everything) if fits else None)

    def plans(
        self, target: Float[np.ndarray, " m"], epsilon: float
    ) -> Iterator[tuple[slice, Float[np.ndarray, " b"], Float[np.ndarray, "b m"]]]:
        """Yield candidates, their potentials, and where each of them sends a weight of 1."""
        n, m = self.cosines.n_rows, self.cosines.n_targets
        for start in range(0, n, self.height):
            rows = slice(start, min(start + self.height, n))
            if self.held is not None:
                plan = self.held * (2 / epsilon)
            else:
                plan = self.cosines.block(np.arange(rows.start, rows.stop), np.arange(m))
                plan *= 2 / epsilon
            plan += (target - 2) / epsilon
            highest = plan.max(axis=1, keepdims=True)
            plan -= highest
            np.exp(plan, out=plan)
            total = plan.sum(axis=1, keepdims=True)
            plan /= total
            yield rows, -epsilon * (np.log(total / m) + highest)[:, 0], plan


def _potentials(
    blocks: _Blocks, target: Float[np.ndarray, " m"], epsilon: float
) -> Float[np.ndarray, " n"]:
    of_rows = np.empty(blocks.cosines.n_rows)
    for rows, potentials, _ in blocks.plans(target, epsilon):
        of_rows[rows] = potentials
    return of_rows


def _minimum(
    function: Callable[[Float[np.ndarray, " m"]], tuple[float, Float[np.ndarray, " m"]]],
    at: Float[np.ndarray, " m"],
    tolerance: float,
    max_calls: int,
) -> tuple[Float[np.ndarray, " m"], float]:
    """Minimise a smooth convex function by L-BFGS; return where, and the sum of its slope's sizes there.

    Ours, because that of scipy spends more time in threads of its own than such functions take. Steps
    are halved until the value falls enough or, where rounding hides that, until the slope along them
    does [Hager and Zhang, 2005].
    """
    value, slope = function(at)
    calls = 1
    steps: deque[tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]] = deque(maxlen=MEMORY)
    while np.abs(slope).sum() > tolerance and calls < max_calls:
        direction = -_scaled_by_curvature(slope, steps)
        fall = float(slope @ direction)
        length = 1.0
        while True:
            new = at + length * direction
            new_value, new_slope = function(new)
            calls += 1
            falls = new_value <= value + 1e-4 * length * fall
            hidden = new_value <= value + 1e-12 * abs(value)
            if falls or (hidden and abs(float(new_slope @ direction)) <= 0.9 * abs(fall)):
                break
            length /= 2
            if length < 1e-10 or calls == max_calls:
                return at, float(np.abs(slope).sum())
        if np.dot(new - at, new_slope - slope) > 0:
            steps.append((new - at, new_slope - slope))
        at, value, slope = new, new_value, new_slope
    return at, float(np.abs(slope).sum())


def _scaled_by_curvature(
    slope: Float[np.ndarray, " m"],
    steps: Sequence[tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]],
) -> Float[np.ndarray, " m"]:
    """Return the slope times what L-BFGS knows of the inverse of the second derivative."""
    direction = slope.copy()
    weights = []
    for step, change in reversed(steps):
        weight = (step @ direction) / (step @ change)
        direction -= weight * change
        weights.append(weight)
    if steps:
        step, change = steps[-1]
        direction *= (step @ change) / (change @ change)
    else:
        direction *= len(slope)  # a step of Sinkhorn's, to first order
    for (step, change), weight in zip(steps, reversed(weights), strict=True):
        direction += (weight - (change @ direction) / (step @ change)) * step
    return direction


def _median_cost(cosines: TargetCosines) -> float:
    """Return the median cost of evenly spaced candidates; 1 where all vectors are the same."""
    n = min(cosines.n_rows, max(1, ENTRIES // cosines.n_targets))
    rows = np.unique(np.linspace(0, cosines.n_rows - 1, n).astype(np.int64))
    median = float(np.median(2 - 2 * cosines.block(rows, np.arange(cosines.n_targets))))
    return median if median > 1e-9 else 1.0
