"""The longest responses: a baseline that is hard to beat when judges prefer length."""

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
class Longest(Selector):
    """The examples with the most response tokens, all assistant turns together.

    Counted with the target's tokenizer and before any truncation [1]_. Gains are response tokens.
    Deviation: ties go to the smaller id, not to the earlier row of the input. O(n log n).

    Evidence: a baseline that every proof compares with. In ours it was worse than random on GSM8K, its
    sampled solutions and the demo's pool (`reports/proof-gsm8k-train.md`,
    `reports/proof-gsm8k-solutions.md`, `reports/proof-demo.md`), and no difference was shown elsewhere.

    References
    ----------
    .. [1] Zhao, Andriushchenko, Croce and Flammarion, Long Is More for Alignment: A Simple but
       Tough-to-Beat Baseline for Instruction Fine-Tuning, ICML 2024.
       https://arxiv.org/abs/2402.04833

    Examples
    --------
    >>> tokens = np.array([3, 9, 3])
    >>> view = View(np.array([b"a", b"b", b"c"]), {"length.response_tokens": tokens})
    >>> Longest().select(view, Budget(2), np.random.default_rng(0)).indices.tolist()
    [1, 0]
    """

    name: ClassVar[str] = "longest"
    purpose: ClassVar[str] = "quality and difficulty"

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"length": Need("length", "target")}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        tokens = view.scores("length.response_tokens")
        indices = keep_within(np.argsort(-tokens, kind="stable"), budget, view)
        gains = tokens[indices]
        reasons = [f"response of {count:.0f} tokens" for count in gains.tolist()]
        return Selection(indices, gains, reasons=reasons)
