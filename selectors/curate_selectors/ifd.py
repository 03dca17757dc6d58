"""Instruction-following difficulty, in its three published conventions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Bool

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

Variant = Literal["cherry", "superfiltering", "codeact"]


class _Convention(NamedTuple):
    column: str
    what: str
    one_is_kept: bool
    role: Literal["target", "proxy"]


_CONVENTIONS: Final[Mapping[str, _Convention]] = {
    "cherry": _Convention("ratio_loss", "ratio of losses", True, "target"),
    "superfiltering": _Convention("ratio_ppl", "ratio of perplexities", False, "proxy"),
    "codeact": _Convention("ratio_ppl", "ratio of perplexities", False, "target"),
}


@register
@final
@dataclass(frozen=True)
class IFD(Selector):
    """The examples whose instruction helps the model least to predict the response.

    The score is the response's loss (or perplexity) with the instruction over that without it; the
    highest ratios are kept. A ratio above 1 means that the instruction misleads: such examples are
    left out, as are truncated ones and undefined ratios. Gains are ratios. O(n log n).

    Evidence: in our proofs no difference from random was shown on questions and on sampled solutions of
    GSM8K, and on the demo's pool (`reports/proof-gsm8k-train.md`, `reports/proof-gsm8k-solutions.md`,
    `reports/proof-demo.md`). The ratios beside those of
    the official scripts: `reports/method-faults.md`.

    Parameters
    ----------
    variant
        ``cherry`` [1]_: ratio of losses under the target, drops ratios above 1. ``superfiltering``
        [2]_: ratio of perplexities under a small proxy (GPT-2 in the paper), drops ratios of 1 or
        more. ``codeact`` [3]_: the same ratio and limit under the target. The conventions rank
        differently, so results name the variant. Deviations: without Cherry's pre-experienced
        model (score with one to have it), and without the k-means stage of CodeACT.

    References
    ----------
    .. [1] Li et al., From Quantity to Quality: Boosting LLM Performance with Self-Guided Data
       Selection for Instruction Tuning, NAACL 2024. https://arxiv.org/abs/2308.12032
    .. [2] Li et al., Superfiltering: Weak-to-Strong Data Filtering for Fast Instruction-Tuning,
       ACL 2024. https://arxiv.org/abs/2402.00530
    .. [3] Lv et al., CodeACT: Code Adaptive Compute-efficient Tuning Framework for Code LLMs,
       2024. https://arxiv.org/abs/2408.02193

    Examples
    --------
    >>> ratio, cut = np.array([0.5, 1.2, 1.0, 0.9]), np.zeros(4, dtype=bool)
    >>> columns = {"ifd.ratio_loss": ratio, "ifd.truncated": cut}
    >>> view = View(np.array([b"a", b"b", b"c", b"d"]), columns)
    >>> IFD("cherry").select(view, Budget(2), np.random.default_rng(0)).indices.tolist()
    [2, 3]
    """

    name: ClassVar[str] = "ifd"
    purpose: ClassVar[str] = "quality and difficulty"
    variant: Variant = "cherry"

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"ifd": Need("ifd", _CONVENTIONS[self.variant].role, {"variant": self.variant})}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        convention = _CONVENTIONS[self.variant]
        ratio = view.scores(f"ifd.{convention.column}")
        dropped = self._dropped(view)
        keep = ~np.logical_or.reduce([*dropped.values()])
        excluded = {reason: int(rows.sum()) for reason, rows in dropped.items() if rows.any()}
        eligible = np.flatnonzero(keep)
        ranking = eligible[np.argsort(-ratio[eligible], kind="stable")]
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(ranking, budget, considered)
        gains = ratio[indices]
        what = f"{self.variant} {convention.what}"
        reasons = [f"{what} {value:.4f}" for value in gains.tolist()]
        return Selection(indices, gains, None, reasons, excluded)

    def _dropped(self, view: View) -> dict[str, Bool[np.ndarray, " n"]]:
        """Rows to leave out by reason, each row under its first reason only."""
        convention = _CONVENTIONS[self.variant]
        ratio = view.scores(f"ifd.{convention.column}")
        undefined = ~np.isfinite(ratio)
        truncated = view.column("ifd.truncated").astype(bool) & ~undefined
        misleading = ratio > 1 if convention.one_is_kept else ratio >= 1
        limit = "above 1" if convention.one_is_kept else "1 or more"
        return {
            f"{convention.what} is not finite": undefined,
            "truncated": truncated,
            f"{convention.what} is {limit}": misleading & ~undefined & ~truncated,
        }
