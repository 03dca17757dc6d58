"""Uniform random selection: the baseline every method has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate import (
    Budget,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    register,
)


@register
@final
@dataclass(frozen=True)
class Uniform(Selector):
    """Examples in a seeded uniform order.

    The order does not depend on the budget, so with one seed a larger budget contains a smaller
    one. Report several seeds: one random subset is one draw. O(n).

    Examples
    --------
    >>> view = View(np.array([b"a", b"b", b"c", b"d"]))
    >>> Uniform().select(view, Budget(2), np.random.default_rng(0)).indices.tolist()
    [2, 0]
    """

    name: ClassVar[str] = "random"
    purpose: ClassVar[str] = "baselines and parts of other methods"

    def requires(self) -> Mapping[str, Need | Expression]:
        return {}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        indices = keep_within(rng.permutation(len(view)), budget, view)
        reasons = [f"place {place} of a uniform order" for place in range(1, len(indices) + 1)]
        return Selection(indices, reasons=reasons)
