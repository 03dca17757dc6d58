"""Searches for the subset size whose model has the lowest loss, as a pure driver.

It proposes the next size and receives its loss; the caller does the training.
"""

import logging
import math
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final, Literal, final

from curate.errors import ConfigError, MissingPackageError, TrainError

SearchMethod = Literal["blendsearch", "grid"]
Sizes = Generator[int, float, "BestSize"]

MAX_REFUSALS: Final = 100  # proposals of BlendSearch in a row that are none, or known already
COARSE_SHARE: Final = 0.6  # of the trials of a grid; the rest refine around its best
LOSS: Final = "loss"
COST: Final = "cost"
DIVERGED: Final = 1e10  # what BlendSearch is told of an infinite loss


@final
@dataclass(frozen=True, slots=True)
class BestSize:
    """The best size of a search, its loss, and every size tried with its loss, in order."""

    n: int
    loss: float
    trials: tuple[tuple[int, float], ...]


@final
@dataclass(frozen=True, slots=True)
class SizeSearch:
    """Search for a subset size between two bounds; every size is tried at most once.

    The curve of loss over size need not have one valley (InstructMining [1]_ reports two), so
    nothing here assumes it: no bisection, no golden section.

    Parameters
    ----------
    low, high
        Smallest and largest size, both included.
    max_trials
        Sizes to try at most, at least 2.
    search
        ``blendsearch``: FLAML's, as in the paper, which starts at the low end, where training is
        cheap; needs the package flaml. ``grid``: sizes spread evenly on a logarithmic scale, then
        once more between the neighbours of the best; needs nothing. Neither is ever substituted for
        the other.
    seed
        Of BlendSearch. Cost is measured by size, not time, so that the same losses lead
        to the same sizes.

    References
    ----------
    .. [1] Cao et al., Instruction Mining: Instruction Data Selection for Tuning Large Language
       Models, COLM 2024. https://arxiv.org/abs/2307.06290
    .. [2] Wang, Wu, Huang and Saied, Economical Hyperparameter Optimization with Blended Search
       Strategy, ICLR 2021. https://openreview.net/forum?id=VbLH04pRA3
    """

    low: int
    high: int
    max_trials: int = 16
    search: SearchMethod = "blendsearch"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.low < self.high:
            raise ConfigError(
                f"a size between {self.low} and {self.high} examples cannot be searched for; give "
                "1 <= low < high"
            )
        if self.max_trials < 2:
            raise ConfigError(f"max_trials must be at least 2, got {self.max_trials}; try 16")
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, got {self.seed}; try 0")

    def sizes(self) -> Sizes:
        """Yield a size, receive its loss, and so on; return the best size.

        Raises `TrainError` when a loss is not a number, or none is finite; an infinite loss, of a
        run that diverged, is the worst there is.
        """
        proposals = self._blend() if self.search == "blendsearch" else self._grid()
        losses: dict[int, float] = {}
        size = next(proposals, None)
        while size is not None:
            if size not in losses and len(losses) < self.max_trials:
                losses[size] = _checked((yield size), size)
            elif size not in losses:
                break
            try:
                size = proposals.send(losses[size])
            except StopIteration:
                break
        best = min(losses, key=lambda n: (losses[n], n))
        if not math.isfinite(losses[best]):
            raise TrainError(
                f"every one of {len(losses)} sizes gave an infinite loss; lower the learning rate"
            )
        return BestSize(best, losses[best], tuple(losses.items()))

    def run(self, objective: Callable[[int], float]) -> BestSize:
        """Search with a function from a size to its loss; it is called once per size."""
        steps = self.sizes()
        try:
            size = next(steps)
            while True:
                size = steps.send(objective(size))
        except StopIteration as done:
            best: BestSize = done.value
            return best

    def _grid(self) -> Generator[int, float, None]:
        """Propose a logarithmic grid, then sizes on either side of its best."""
        coarse = log_spaced(self.low, self.high, max(2, round(COARSE_SHARE * self.max_trials)))
        losses = {}
        for size in coarse:
            losses[size] = yield size
        best = min(coarse, key=lambda n: (losses[n], n))
        sides = [(left, right) for left, right in pairwise(coarse) if best in (left, right)]
        n_left = self.max_trials - len(coarse)
        for number, (left, right) in enumerate(sides):
            count = (n_left + number) // len(sides)
            for size in log_spaced(left, right, count + 2)[1:-1]:
                yield size

    def _blend(self) -> Generator[int, float, None]:
        """Propose what FLAML's BlendSearch does, until it has nothing new to say."""
        searcher = _blend_search(self.low, self.high, self.max_trials, self.seed)
        known: set[int] = set()
        number = refused = 0
        while refused < MAX_REFUSALS:
            number, refused = number + 1, refused + 1
            config = searcher.suggest(str(number))
            if config is None:
                continue
            size = int(config["n"])
            if size not in known:
                known.add(size)
                refused = 0
            loss = yield size
            result = {"config": config, LOSS: min(loss, DIVERGED), COST: size}
            searcher.on_trial_complete(str(number), result)


def check_search_packages(search: SearchMethod) -> None:
    """Raise `MissingPackageError` if a search needs flaml, or its dependency optuna, and it is missing."""
    for package in ("flaml", "optuna") if search == "blendsearch" else ():
        if find_spec(package) is None:
            raise MissingPackageError(
                f"search 'blendsearch' needs the package {package}; "
                "type: pip install 'curate-sft[search]', or choose search 'grid', which needs none"
            )


def _blend_search(low: int, high: int, n_trials: int, seed: int) -> Any:
    """Make FLAML's searcher; raise `MissingPackageError` without its packages."""
    check_search_packages("blendsearch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the parts of flaml that are not installed
        flaml: Any = import_module("flaml")
    optuna = logging.getLogger("optuna")
    level = optuna.level
    optuna.setLevel(logging.WARNING)
    try:
        return flaml.BlendSearch(
            metric=LOSS,
            mode="min",
            space={"n": flaml.tune.lograndint(low, high + 1)},
            low_cost_partial_config={"n": low},
            num_samples=n_trials,
            cost_attr=COST,
            seed=seed,
        )
    finally:
        optuna.setLevel(level)


def log_spaced(low: int, high: int, count: int) -> list[int]:
    """Return up to ``count`` distinct whole numbers from low to high, even on a logarithmic scale.

    Examples
    --------
    >>> log_spaced(100, 10_000, 5)
    [100, 316, 1000, 3162, 10000]
    """
    if count < 2 or low == high:
        return [low]
    ratio = math.log(high / low) / (count - 1)
    inner = {round(low * math.exp(ratio * step)) for step in range(1, count - 1)}
    return sorted(inner | {low, high})


def _checked(loss: float, size: int) -> float:
    if math.isnan(loss):
        raise TrainError(
            f"the run on {size} examples has a loss that is not a number; the search cannot continue"
        )
    return float(loss)
