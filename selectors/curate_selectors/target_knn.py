"""The examples nearest to a target set by any stored embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate import (
    DEFAULT_EMBEDDING,
    Aggregate,
    Budget,
    Expression,
    Need,
    Selection,
    Selector,
    TargetCosines,
    View,
    check_embedding,
    embedding_need,
    register,
    select_by_scores,
)


@register
@final
@dataclass(frozen=True)
class TargetKNN(Selector):
    """The examples whose embedding is nearest to those of a target set, by cosine.

    Target examples, in a seeded order, take turns: each takes its nearest example that is left, until
    the budget is full [1]_. Cosines are in double precision, and those that agree to 10 decimals
    are ties, which go to the smaller id. O(n m dim) for n examples and m target examples, as a rule
    once, and memory independent of n beyond a few numbers for each example.

    Deviations: the paper takes a fixed number of neighbours of every target example from an index over
    the vectors of its own encoder; here the search is exact, the embedding is any, and the budget
    decides how many. Turns are those of [2]_, so that no target example is left out for another that
    has many near neighbours.

    Evidence: in the paper, models trained on the neighbours, 2% of P3, are better than those trained on
    all of it on 12 of 14 held-out datasets, by 3 to 30%. In a later study by the same group [2]_, with
    instruction data and today's models, plain embeddings were behind `rds-plus`. This project has
    measured the share of target-like examples among what is selected (`reports/target-share.md`: above
    random for 4 of 9 categories). A loss: in a proof towards 60 examples of question generation, with the embedding
    of a small model, it did worse than random (`reports/proof-towards.md`: +0.058, +0.014 to +0.101 nats a token).

    Parameters
    ----------
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is
        missing, by the encoder if one is given; any other must be in the store.
    aggregate
        ``round-robin``, or ``max``: the examples with the highest cosine with any target example,
        which may all be near a few of them.

    References
    ----------
    .. [1] Ivison, Smith, Hajishirzi and Dasigi, Data-Efficient Finetuning Using Cross-Task Nearest
       Neighbors, Findings of ACL 2023. https://arxiv.org/abs/2212.00196
    .. [2] Ivison et al., Large-Scale Data Selection for Instruction Tuning, 2025.
       https://arxiv.org/abs/2503.01807

    Examples
    --------
    >>> from curate import Vectors
    >>> target = View(np.array([b"t"]), vectors_by_column={
    ...     "embedding.vector": Vectors(np.array([[0.0, 2.0]]))})
    >>> view = View(np.array([b"a", b"b"]), target=target, vectors_by_column={
    ...     "embedding.vector": Vectors(np.array([[1.0, 0.0], [1.0, 1.0]]))})
    >>> TargetKNN().select(view, Budget(1), np.random.default_rng(0)).indices.tolist()
    [1]
    """

    name: ClassVar[str] = "target-knn"
    purpose: ClassVar[str] = "towards a target set"
    uses_target: ClassVar[bool] = True
    embedding: str = DEFAULT_EMBEDDING
    aggregate: Aggregate = "round-robin"

    def __post_init__(self) -> None:
        check_embedding(self.name, self.embedding)

    def requires(self) -> Mapping[str, Need | Expression]:
        return {**embedding_need(self.embedding)}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        cosines = TargetCosines.of(view, f"{self.embedding}.vector")
        return select_by_scores(
            self.name, cosines, view, cosines.rows, budget, rng,
            aggregate=self.aggregate, measure="cosine", excluded=cosines.excluded,
            warnings=cosines.warnings, targets=cosines.targets,
        )  # fmt: skip
