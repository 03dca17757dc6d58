"""DONOD over every weight of the model, not only its LM head."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np
from jaxtyping import Float

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
    Rendering,
    Role,
    RowScorer,
)
from curate.errors import ConfigError
from curate.models.batch import default_batch_tokens
from curate.models.classifiers.text_model import object_column
from curate.models.load import load_model, resolve_model
from curate.models.text.render import Renderer
from curate.models.text.single_rows import SingleRows
from curate.registry import register
from curate.scorers.donod import change_of_norm

if TYPE_CHECKING:
    from curate.models.passes.layers import LayerStats


@register
@final
@dataclass(frozen=True)
class DONODLayers(RowScorer):
    """Change of the norms of all weights, and norms of their changes, after one SGD step on an example.

    What the scorer ``donod`` measures on the LM head, summed over every weight tensor of the model
    [1]_: the square root is taken for each, then the sum. Exact for plain SGD from the same
    weights, by one backward pass that forms no gradient of a matrix; about three forward passes,
    and the activations of a batch in memory. Head and input embedding count as two matrices even
    where they are one. An example whose turns need a row each (see ``docs/chat.md``) fails. Models
    with weights that are neither linear layers, embeddings nor vectors (such as experts) are
    refused.

    Parameters
    ----------
    lr
        Learning rate of the step, positive.
    don_sign
        As in ``donod``.
    template
        ``chat`` for instruct models, or a text template.
    turns
        Score ``all`` assistant turns, or the ``last``.
    score_end
        Whether ends of turns count, as in training.

    References
    ----------
    .. [1] Hu et al., DONOD: Robust and Generalizable Instruction Fine-Tuning for LLMs via
       Model-Intrinsic Dataset Pruning, 2025. https://arxiv.org/abs/2504.14810
    """

    name: ClassVar[str] = "donod-layers"
    version: ClassVar[int] = 1
    experimental: ClassVar[str] = (
        "reconstructed from secondary sources; the sign of DON is unconfirmed"
    )
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "don": Column("float", "changes of the weights' norms, summed; the method maximises it"),
        "nod": Column("float", "norms of the weights' changes, summed; the method minimises it"),
        "grad_norm": Column("float", "norm of the gradient of the mean loss by all weights"),
    }
    lr: float = 1e-5
    don_sign: Literal["before_minus_after", "after_minus_before"] = "after_minus_before"
    template: str = "chat"
    turns: Literal["all", "last"] = "all"
    score_end: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"donod-layers.lr must be positive, got {self.lr!r}; try 1e-5")

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        from curate.models.passes.layers import Layers

        assert context.model is not None
        resolved = resolve_model(context.model, revision=context.revision, adapter=context.adapter)
        model = load_model(resolved, context.device, context.dtype)
        layers = Layers.of(model)
        renderer = Renderer(model.tokenizer, resolved.max_length, context.chat)
        budget = context.batch_tokens or default_batch_tokens(context.device)

        def score(examples: Sequence[Example]) -> Columns:
            single = SingleRows.of(
                renderer, examples, Rendering(self.template, turns=self.turns),
                score_end=self.score_end, batch_tokens=budget,
            )  # fmt: skip
            values = {name: np.full(len(examples), np.nan) for name in self.outputs}
            for batch in single.batches:
                measured = layers.run(*single.of_batch(batch))
                for n, stats in zip(batch.tolist(), measured, strict=True):
                    for name, value in self._values(stats, layers.sq_norms).items():
                        values[name][n] = value
            return {**values, FAILURE: object_column(single.reasons), TOKENS_RUN: single.lengths}

        return score

    def _values(
        self, stats: "LayerStats", sq_norms: Float[np.ndarray, " weights"]
    ) -> dict[str, float]:
        changes = [
            change_of_norm(inner, sq_norm, weight, self.lr)
            for inner, sq_norm, weight in zip(
                stats.inner.tolist(), stats.sq_norm.tolist(), sq_norms.tolist(), strict=True
            )
        ]
        don, nod = (math.fsum(column) for column in zip(*changes, strict=True))
        return {
            "don": don if self.don_sign == "before_minus_after" else -don,
            "nod": nod,
            "grad_norm": math.sqrt(math.fsum(stats.sq_norm.tolist())),
        }
