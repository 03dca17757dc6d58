"""InstructMining: the examples a linear rule over cheap indicators predicts to lower the loss."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Int

from curate import (
    REWARD_MODEL,
    UNIEVAL_MODEL,
    Budget,
    Expression,
    LinearRule,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    read_rule,
    register,
)


@register
@final
@dataclass(frozen=True)
class InstructMining(Selector):
    """The examples with the lowest log loss that a linear rule predicts from indicators of quality.

    The rule was found by regressing the log loss of 129 fine-tuned models on the mean indicators
    of the datasets they were tuned on [1]_. Here it is applied to single examples, whose mean
    prediction is the prediction of the dataset, and the lowest are kept. Gains are predicted log
    losses, negated; ties go to the smaller id. O(n log n).

    Read before use. The paper's text was not available: v3 follows one secondary source, v1
    another. Coefficients belong to the raw scale of one reward model and one UniEval checkpoint,
    and were fitted on means of datasets: with any other model, fit your own rule. Signs carry no
    meaning: naturalness lowers the predicted loss and understandability raises it, because the two
    go together. A difference of 1 in naturalness weighs as much as 41 in reward, so under v3
    UniEval decides; under v1 the reward does.

    Deviations: kNN is the cosine distance to the 6th neighbour, itself excluded, in whichever
    embedding is in the store, and lengths are in tokens of the target, because the paper's sources
    name neither; v2 and v3 are one rule.

    Evidence: not proved here; rule v3 needs its published reward and judge models.

    Parameters
    ----------
    rule
        ``v3``: reward and UniEval, R^2 = 0.522 where it was fitted. ``v1``: reward, response length and
        kNN. Or a rule that ``instructmining-fit`` has fitted: the path of its JSON file, or the
        JSON itself, which is what a selection keeps, so that no file is needed to reproduce it.

    References
    ----------
    .. [1] Cao, Kang, Wang and Sun, Instruction Mining: Instruction Data Selection for Tuning Large
       Language Models, COLM 2024. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> columns = {f"unieval.{name}": np.array([0.5, 0.5])
    ...            for name in ("naturalness", "understandability", "coherence")}
    >>> columns["reward.reward"] = np.array([-2.0, 3.0])
    >>> view = View(np.array([b"a", b"b"]), columns)
    >>> InstructMining().select(view, Budget(1), np.random.default_rng(0)).indices.tolist()
    [1]
    """

    name: ClassVar[str] = "instructmining"
    purpose: ClassVar[str] = "quality and difficulty"
    experimental: ClassVar[str] = (
        "the published coefficients come from one secondary source each and hold for one reward "
        "model and one UniEval checkpoint; a review found random ahead of it at 10,000 examples"
    )
    rule: str = "v3"

    def __post_init__(self) -> None:
        rule = read_rule(self.rule)
        if not rule.is_published:
            object.__setattr__(self, "rule", rule.to_json())

    def requires(self) -> Mapping[str, Need | Expression]:
        return dict(read_rule(self.rule).needs)

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        rule = read_rule(self.rule)
        columns = rule.columns(view)
        loss = rule.predict(columns)
        known = np.flatnonzero(np.isfinite(loss))
        n_without = len(view) - len(known)
        excluded = {"an indicator is missing": n_without} if n_without else {}
        ranking = known[np.argsort(loss[known], kind="stable")]
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(ranking, budget, considered)
        chosen = {name: values[indices] for name, values in columns.items()}
        reasons = [
            f"predicted log loss {value:.4f} ({parts})"
            for value, parts in zip(loss[indices].tolist(), _parts(rule, chosen), strict=True)
        ]
        warnings = (*_portability(rule), *_truncated(rule, view, indices))
        return Selection(indices, -loss[indices], None, reasons, excluded, warnings)


def _parts(rule: LinearRule, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield per pick what each indicator adds."""
    added = rule.contributions(columns)
    for values in zip(*(contribution.tolist() for contribution in added.values()), strict=True):
        yield ", ".join(f"{name} {value:+.4f}" for name, value in zip(added, values, strict=True))


def _portability(rule: LinearRule) -> Iterator[str]:
    if rule.is_published:
        models = REWARD_MODEL + (f" and {UNIEVAL_MODEL}" if "unieval" in rule.needs else "")
        yield (
            f"the coefficients of rule {rule.name} hold for {models} only, and were fitted on means "
            "of datasets; with any other model fit a rule of your own: --method instructmining-fit"
        )


def _truncated(rule: LinearRule, view: View, indices: Int[np.ndarray, " k"]) -> Iterator[str]:
    for alias in rule.needs:
        column = f"{alias}.truncated"
        if column in view.columns:
            n_cut = int(view.column(column)[indices].sum())
            if n_cut:
                yield f"{n_cut} of {len(indices)} picks were scored on a cut text by {alias}"
