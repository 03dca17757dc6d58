"""GOT-D: the examples whose weight brings the pool nearest to a target set by optimal transport."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import numpy as np

from curate import (
    DEFAULT_EMBEDDING,
    Budget,
    BudgetError,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    TargetCosines,
    Transport,
    View,
    check_embedding,
    embedding_need,
    keep_within,
    register,
    transport,
)

DECIMALS: Final = 9  # potentials that agree this far are equal: below what they are solved to


@register
@final
@dataclass(frozen=True)
class GOTD(Selector):
    """The examples whose weight lowers the optimal-transport distance from pool to target set the most.

    Fine-tuning on few examples moves what a model has learned a little towards them; to first order the best
    are those with the most negative gradient of the transport distance in their weight [1]_. That gradient
    is their dual potential f, up to a constant and a factor that change no ranking [2]_. The cost is the
    squared distance of embeddings of length 1, weights are uniform, and the transport is entropic, solved by its
    semi-dual in blocks: memory does not grow with the pool beyond one number an example. An example
    is good if it is near any part of the target that the rest of the pool is far from. Ties, to 9 decimals, go
    to the smaller id. O(n m dim) a pass, some 10 to 50 passes.

    Deviations and choices of ours: the paper's encoder, entropy and filters are unknown to us, and so is its code,
    so that nothing here is checked against it; the embedding is any, the entropy 0.05 of the median
    cost; no term of the pool with itself is taken off; examples are distinct by content already.

    Evidence: the abstract promises gains over other methods for models up to 2.7 billion weights with selection
    from millions of examples; we know of no independent repetition. The potentials agree with those of the package
    POT. This project has measured the share of target-like examples among what is selected
    (`reports/target-share.md`: above
    random for 4 of 9 categories). A loss: in a proof towards 60 examples of question generation, with the embedding
    of a small model, it did worse than random (`reports/proof-towards.md`: +0.049, +0.016 to +0.082 nats a token).

    Parameters
    ----------
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is
        missing, by the encoder if one is given; any other must be in the store.
    epsilon
        Strength of the entropy, a positive multiple of the median cost; less is nearer to plain transport, and
        takes more passes.
    tolerance
        How far the plan's weights of target examples may be off, summed.
    max_passes
        Passes over the pool at most; a selection that needed more carries a warning.

    References
    ----------
    .. [1] Kang et al., Get more for less: Principled Data Selection for Warming Up Fine-Tuning in LLMs,
       ICLR 2024. https://arxiv.org/abs/2405.02774
    .. [2] Just et al., LAVA: Data Valuation without Pre-Specified Learning Algorithms, ICLR 2023.
       https://arxiv.org/abs/2305.00054

    Examples
    --------
    >>> sorted(GOTD(embedding="minilm").requires())
    ['minilm']
    """

    name: ClassVar[str] = "got-d"
    purpose: ClassVar[str] = "towards a target set"
    uses_target: ClassVar[bool] = True
    experimental: ClassVar[str] = (
        "built from the abstract and a related paper; the encoder and the entropy are our choice"
    )
    embedding: str = DEFAULT_EMBEDDING
    epsilon: float = 0.05
    tolerance: float = 1e-6
    max_passes: int = 1_000

    def __post_init__(self) -> None:
        for name in ("epsilon", "tolerance", "max_passes"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(
                    f"got-d.{name}={getattr(self, name):g} must be positive; leave it out for the default"
                )
        check_embedding(self.name, self.embedding)

    def requires(self) -> Mapping[str, Need | Expression]:
        return {**embedding_need(self.embedding)}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("got-d needs a budget; add --budget 10%, 5000 or 2Mtok")
        cosines = TargetCosines.of(view, f"{self.embedding}.vector")
        solved = transport(
            cosines, relative_epsilon=self.epsilon, tolerance=self.tolerance,
            max_passes=self.max_passes,
        )  # fmt: skip
        considered = replace(view, excluded={**view.excluded, **cosines.excluded})
        potentials = (solved.source - solved.source.mean()).round(DECIMALS)
        ranking = np.argsort(potentials, kind="stable")
        indices = keep_within(cosines.rows[ranking], budget, considered)
        gains = -potentials[ranking[: len(indices)]]
        reasons = [f"{value:.6g} below the mean potential" for value in gains.tolist()]
        warnings = (*cosines.warnings, *self._unsolved(solved))
        return Selection(indices, gains, None, reasons, cosines.excluded, warnings)

    def _unsolved(self, solved: Transport) -> tuple[str, ...]:
        if solved.residual <= self.tolerance:
            return ()
        warning = (
            f"the transport did not converge: after {solved.passes:,} passes its weights are off by "
            f"{solved.residual:.3g} in sum (tolerance {self.tolerance:g}); allow more with "
            f"--set got-d.max_passes, or more entropy with --set got-d.epsilon={2 * self.epsilon:g}"
        )
        return (warning,)
