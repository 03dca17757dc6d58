"""Linear rules that predict a log loss from scores: the published ones, and rules a user has fitted.

A fitted rule is a small JSON document: the coefficient of every indicator in its own unit, the
scores it reads, the statistics of the fit, and where it came from.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from curate.contracts import Need, View
from curate.errors import ConfigError

FORMAT: Final = "curate-linear-rule"
VERSION: Final = 1

REWARD_MODEL: Final = "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5"
UNIEVAL_MODEL: Final = "MingZhong/unieval-dialog"

_OWN_RULE: Final = (
    "without them, --method instructmining-fit fits a rule of your own on indicators that need no "
    "such model (response_tokens, prompt_tokens, mtld, perplexity, knn_6), and the file of a rule "
    "you have is passed by --set instructmining.rule=RULE.json; nothing is substituted"
)
_V3_MODELS: Final = (
    f"rule v3 of instructmining needs --model-for reward={REWARD_MODEL} and --model-for "
    f"judge={UNIEVAL_MODEL}; {_OWN_RULE}"
)
_V1_MODELS: Final = (
    f"rule v1 of instructmining needs --model-for reward={REWARD_MODEL}; {_OWN_RULE}"
)


@final
@dataclass(frozen=True, slots=True)
class Term:
    """One indicator of a rule: its name, the column it is read from, and its coefficient."""

    indicator: str
    column: str
    coefficient: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class LinearRule:
    """Predicted log loss as an intercept and a weighted sum of indicators; lower is better.

    Being linear, a dataset's prediction is the mean of its examples' predictions.

    Parameters
    ----------
    name
        Its name in messages.
    intercept
        Does not affect a ranking.
    terms
        Coefficients in the indicators' own units.
    needs
        The score set behind each alias that the terms' columns begin with.
    statistics, provenance
        How well the rule fitted, and what it was fitted on; kept, not read.
    """

    name: str
    intercept: float
    terms: tuple[Term, ...]
    needs: Mapping[str, Need]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.terms:
            raise ConfigError(f"rule {self.name!r} has no terms; it needs at least one indicator")
        for term in self.terms:
            if not math.isfinite(term.coefficient):
                raise ConfigError(
                    f"rule {self.name!r} has the coefficient {term.coefficient} for "
                    f"{term.indicator!r}; it must be finite"
                )
            if term.column.split(".")[0] not in self.needs:
                raise ConfigError(
                    f"rule {self.name!r} reads {term.column!r} but does not say which score that is; "
                    f"it knows: {', '.join(self.needs) or 'none'}"
                )

    @property
    def is_published(self) -> bool:
        """Whether this is one of the paper's rules."""
        return PUBLISHED.get(self.name) is self

    def contributions(self, columns: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, Any]:
        """Return what each indicator adds to the prediction, (n,) each, by indicator."""
        return {term.indicator: term.coefficient * columns[term.column] for term in self.terms}

    def predict(self, columns: Mapping[str, Float[np.ndarray, " n"]]) -> Float[np.ndarray, " n"]:
        """Return the predicted log loss of each example, NaN where an indicator is missing."""
        total: Float[np.ndarray, " n"] = sum(self.contributions(columns).values())
        return self.intercept + total

    def columns(self, view: View) -> dict[str, Float[np.ndarray, " n"]]:
        """Return the columns of a view that the rule reads."""
        return {term.column: view.scores(term.column) for term in self.terms}

    def to_json(self) -> str:
        """Write the rule as one line of JSON, as `read_rule` reads it."""
        needs = {
            alias: {"scorer": need.scorer, "role": need.role, "config": dict(need.config)}
            for alias, need in self.needs.items()
        }
        terms = [
            {"indicator": t.indicator, "column": t.column, "coefficient": t.coefficient}
            for t in self.terms
        ]
        document = {
            "format": FORMAT, "version": VERSION, "name": self.name, "intercept": self.intercept,
            "terms": terms, "needs": needs, "statistics": dict(self.statistics),
            "provenance": dict(self.provenance),
        }  # fmt: skip
        return json.dumps(document, allow_nan=False, ensure_ascii=False)


def read_rule(text: str) -> LinearRule:
    """Return a published rule by name, or one a user fitted: its JSON, or the path of its file.

    Raises `ConfigError` for anything else, and says what would be right.
    """
    if text in PUBLISHED:
        return PUBLISHED[text]
    if text.lstrip().startswith("{"):
        return _parse(text, "the rule")
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"no rule {text!r}; choose {', '.join(PUBLISHED)}, or give the file of a rule you "
            f"fitted (looked at {path.absolute()})"
        )
    return _parse(path.read_text(encoding="utf-8"), f"rule file {text!r}")


def _parse(text: str, where: str) -> LinearRule:
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["version"] > VERSION:
            raise ConfigError(
                f"{where} has format {document['format']!r}, version {document['version']}; "
                f"this version of curate reads {FORMAT!r} up to version {VERSION}"
            )
        return LinearRule(
            name=str(document["name"]),
            intercept=float(document["intercept"]),
            terms=tuple(
                Term(str(t["indicator"]), str(t["column"]), float(t["coefficient"]))
                for t in document["terms"]
            ),
            needs={
                alias: Need(need["scorer"], need["role"], need["config"])
                for alias, need in document["needs"].items()
            },
            statistics=document["statistics"],
            provenance=document["provenance"],
        )
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{where} cannot be read as a linear rule ({type(error).__name__}: {error}); give the "
            "JSON that a fit wrote"
        ) from error


def _published(name: str, intercept: float, hint: str, **coefficients: float) -> LinearRule:
    terms = tuple(
        Term(indicator, _COLUMNS[indicator], value) for indicator, value in coefficients.items()
    )
    needs = {
        "reward": Need("reward", "reward", {"format": "oasst"}, hint),
        "unieval": Need("unieval", "judge", {}, hint),
        "length": Need("length", "target"),
        "knn": Need("knn", None, {"i": 6, "metric": "cosine"}),
    }
    read = {term.column.split(".")[0] for term in terms}
    return LinearRule(name, intercept, terms, {a: n for a, n in needs.items() if a in read})


_COLUMNS: Final = {
    "reward": "reward.reward",
    "understandability": "unieval.understandability",
    "naturalness": "unieval.naturalness",
    "coherence": "unieval.coherence",
    "response_tokens": "length.response_tokens",
    "knn_6": "knn.distance",
}

PUBLISHED: Final[Mapping[str, LinearRule]] = MappingProxyType(
    {
        "v1": _published(
            "v1", 1.0694, _V1_MODELS, reward=-0.1498, response_tokens=8.257e-5, knn_6=-0.9350
        ),
        "v3": _published(
            "v3", 0.0274, _V3_MODELS,
            reward=-0.0078, understandability=0.4421, naturalness=-0.3212, coherence=-0.1520,
        ),
    }
)  # fmt: skip
