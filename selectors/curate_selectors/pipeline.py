"""Methods in sequence: each stage selects from what the previous stage kept."""

import math
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, final

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Outcome,
    Procedure,
    Result,
    Select,
    Step,
    build,
    get_selector,
    register,
)

_STAGE: Final = re.compile(r"(?P<method>[\w-]+)\s*(?:\((?P<settings>.*)\))?", re.DOTALL)
ALL: Final = "all"  # what a stage chooses without a budget


class _Stage(NamedTuple):
    method: str
    settings: dict[str, str]


@register
@final
@dataclass(frozen=True)
class Pipeline(Procedure):
    """Selectors in sequence, such as a filter and then a ranking of what it kept.

    Every stage but the last keeps a share, or all that it chooses by itself; the last one spends the
    budget.

    Parameters
    ----------
    stages
        Selectors separated by ``|``, settings in brackets: ``perplexity(which=low) | longest``.
    keep
        What every stage but the last keeps: one for all, or one each. ``50%`` is half of the pool, whatever
        ``--where`` leaves, and shares of several stages multiply: after two of 50% a quarter of the pool is
        left. ``50%eligible`` is half of what reaches the stage. ``all`` is what a method chooses
        without a budget: every distinct example for `dedup`.

    Examples
    --------
    >>> steps = Pipeline("perplexity | longest", keep=("20%",)).run(Budget.parse("5%"), seed=0)
    >>> first = next(steps)
    >>> first.method, first.budget
    ('perplexity', '20%')
    >>> second = steps.send(Result("kept-by-perplexity"))
    >>> second.method, second.budget, second.within
    ('longest', '5%', 'kept-by-perplexity')
    """

    name: ClassVar[str] = "pipeline"
    purpose: ClassVar[str] = "baselines and parts of other methods"
    budget_optional: ClassVar[bool] = True
    stages: str = "perplexity | longest"
    keep: tuple[str, ...] = ("50%",)

    def __post_init__(self) -> None:
        stages = _parse(self.stages)
        if len(self.keep) not in (1, len(stages) - 1):
            raise ConfigError(
                f"pipeline.keep has {len(self.keep)} shares for {len(stages) - 1} stages before "
                "the last; give one for all, or one each"
            )
        for text in self.keep:
            if text != ALL and Budget.parse(text).unit not in ("share", "eligible-share"):
                raise ConfigError(
                    f"pipeline.keep={text!r} is not a share; write it like 50%, or {ALL}"
                )

    @property
    def uses_target(self) -> bool:
        """Whether a stage does."""
        return any(get_selector(stage.method).uses_target for stage in _parse(self.stages))

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield one selection per stage, each within the one before, the last with the budget."""
        *filters, last = _parse(self.stages)
        for stage in (*filters, last):
            build(get_selector(stage.method), stage.settings)  # fails before any work is done
        if budget is None and not get_selector(last.method).budget_optional:
            raise BudgetError(
                f"the last stage of the pipeline, {last.method!r}, needs a budget; "
                "add --budget 10%, 5000 or 2Mtok"
            )
        keep = self.keep * len(filters) if len(self.keep) == 1 else self.keep
        shares = [1.0 if text == ALL else float(Budget.parse(text).amount) for text in keep]
        self._check_room(budget, math.prod(shares))
        for stage, text in zip(filters, keep, strict=True):
            if text == ALL and not get_selector(stage.method).budget_optional:
                raise BudgetError(
                    f"pipeline.keep={ALL} is what a stage chooses without a budget, and "
                    f"{stage.method!r} needs one; give its share in place of {ALL}, such as 50%"
                )
        within: str | None = None
        for place, stage in enumerate(filters, start=1):
            kept = _kept(keep[place - 1], math.prod(shares[:place]))
            within = (yield _step(stage, kept, within, seed)).id
        final = yield _step(last, None if budget is None else str(budget), within, seed)
        return Outcome(final.id)

    def _check_room(self, budget: Budget | None, kept: float) -> None:
        if budget is not None and budget.unit == "share" and budget.amount > kept:
            raise BudgetError(
                f"budget {budget} is more than the {Budget(kept, 'share')} that reaches the last "
                f"stage; keep more with --set pipeline.keep={budget}, or use a smaller budget"
            )


def _kept(text: str, of_pool: float) -> str | None:
    """Return the budget of a stage; ``of_pool`` is its share times those of the stages before."""
    if text == ALL:
        return None
    own = Budget.parse(text)
    return str(own if own.unit == "eligible-share" else Budget(of_pool, "share"))


def _step(stage: _Stage, budget: str | None, within: str | None, seed: int) -> Select:
    settings: dict[str, Any] = dict(stage.settings)
    return Select(stage.method, budget, settings, within, seed)


def _parse(text: str) -> list[_Stage]:
    stages = []
    for part in text.split("|"):
        match = _STAGE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(
                f"cannot read stage {part.strip()!r} of pipeline {text!r}; "
                "write a method, or method(setting=value, ...), between the bars"
            )
        stages.append(_Stage(match["method"], _settings(match["settings"] or "", text)))
    if len(stages) < 2:
        raise ConfigError(f"pipeline {text!r} has one stage; write at least two, like 'a | b'")
    return stages


def _settings(text: str, pipeline: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"cannot read setting {part!r} in pipeline {pipeline!r}; write it as setting=value"
            )
        settings[name.strip()] = value.strip()
    return settings
