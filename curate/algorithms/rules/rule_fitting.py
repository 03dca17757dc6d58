"""Fitting InstructMining's rule on a pool: the steps that procedures share, from indicators to a rule."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np

from curate.algorithms.rules.linear_rules import LinearRule
from curate.algorithms.rules.regression import LinearFit, fit_linear
from curate.contracts import Mean, Need, Result, Score, Select, Step, Train
from curate.errors import ConfigError

INDICATORS: Final[Mapping[str, tuple[str, Need]]] = {
    "response_tokens": ("length.response_tokens", Need("length", "target")),
    "prompt_tokens": ("length.prompt_tokens", Need("length", "target")),
    "mtld": ("mtld.mtld", Need("mtld")),
    "perplexity": ("perplexity.ppl", Need("perplexity", "target")),
    "knn_6": ("knn.distance", Need("knn", None, {"i": 6, "metric": "cosine"})),
    "reward": ("reward.reward", Need("reward", "reward")),
    "naturalness": ("unieval.naturalness", Need("unieval", "judge")),
    "understandability": ("unieval.understandability", Need("unieval", "judge")),
    "coherence": ("unieval.coherence", Need("unieval", "judge")),
}


@final
@dataclass(frozen=True, slots=True)
class FittedRule:
    """A fitted rule, the selection its losses were measured on, and what to say about it."""

    rule: LinearRule
    held_out: str
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class RuleFitting:
    """How a rule is fitted: many fine-tunings on random subsets, then a regression.

    Parameters
    ----------
    method
        Name of the procedure that fits, for messages and for the rule's provenance.
    indicators
        Of `INDICATORS`.
    runs, subset
        Fine-tunings, and the examples of each.
    held_out
        Share of the pool that losses are measured on.
    estimator
        Whose coefficients the rule has.
    training
        Settings of the fine-tunings, as `Train` takes them.

    Raises
    ------
    ConfigError
        An unknown indicator, none, or fewer runs than can fit them.
    """

    method: str
    indicators: tuple[str, ...]
    runs: int
    subset: int
    held_out: str
    estimator: Literal["ridge", "ols"]
    training: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("runs", "subset"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{self.method}.{name} must be at least 1, got {getattr(self, name)}"
                )
        unknown = [name for name in self.indicators if name not in INDICATORS]
        if unknown or not self.indicators:
            raise ConfigError(
                f"{self.method} has no indicator {(unknown or ['none'])[0]!r}; choose from: "
                f"{', '.join(INDICATORS)}"
            )
        if self.runs <= len(self.indicators) + 1:
            raise ConfigError(
                f"{self.runs} runs cannot fit {len(self.indicators)} indicators and an intercept; "
                f"set {self.method}.runs to at least {len(self.indicators) + 2}, better "
                f"{10 * len(self.indicators)}"
            )

    def steps(self, seed: int) -> Generator[Step, Result, FittedRule]:
        """Yield the indicators, the held-out examples and the runs; return the rule."""
        columns = {name: INDICATORS[name][0] for name in self.indicators}
        needs = {column.split(".")[0]: INDICATORS[name][1] for name, column in columns.items()}
        if "knn" in needs:
            yield Score("embedding")
        bind = {}
        for alias, need in needs.items():
            assert need.scorer is not None
            bind[alias] = (yield Score(need.scorer, need.config, need.role)).id
        held_out = (yield Select("random", self.held_out, {}, None, seed)).id
        means, losses = [], []
        for number in range(self.runs):
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            drawn = yield Select("random", str(self.subset), {}, None, own, (held_out,))
            mean = yield Mean(drawn.id, columns, bind)
            trained = yield Train(drawn.id, self.training, "target", number, held_out)
            means.append([mean.facts["mean"][name] for name in self.indicators])
            losses.append(math.log(trained.facts["nll"]))
        fit = fit_linear(
            np.array(means), np.array(losses), self.indicators, np.random.default_rng(seed)
        )
        origin = {
            "method": self.method, "runs": self.runs, "subset": self.subset,
            "held_out": self.held_out, "seed": seed,
        }  # fmt: skip
        rule = fit.rule("fitted", columns, needs, origin, self.estimator)
        return FittedRule(rule, held_out, (self._said(fit), *fit.warnings))

    def _said(self, fit: LinearFit) -> str:
        coefficients = ", ".join(
            f"{coefficient.indicator} {getattr(coefficient, self.estimator):+.4g}"
            for coefficient in fit.coefficients
        )
        left_out = fit.loo_r2 if self.estimator == "ols" else fit.ridge_loo_r2
        return (
            f"rule fitted on {fit.n_runs} runs of {self.subset} examples ({self.estimator}): "
            f"{coefficients}; R^2 of runs left out {left_out:.2f}"
        )
