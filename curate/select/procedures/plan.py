"""The plan of a procedure: its steps with made-up results, each with what it would cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast, final

from curate.contracts import (
    TARGET_SET,
    Budget,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Need,
    PoolScorer,
    Procedure,
    Result,
    Revise,
    Role,
    Score,
    Select,
    Selector,
    Step,
    Train,
    Union,
)
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.errors import BudgetError, MissingColumnError, ProcedureError
from curate.models.load import resolve_model
from curate.registry import build
from curate.scoring.estimate import plan
from curate.scoring.requests import (
    ScoreRequest,
    make_request,
    missing_model,
    resolve_scorer,
    run_scorer,
)
from curate.select.bind import scorer_settings
from curate.select.procedures.execute import AUTO
from curate.select.procedures.foresee import PoolSize, foreseen
from curate.select.procedures.trained import refuse_untrained
from curate.select.run import build_method
from curate.train.recipes import build_config

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.store import Store

MAX_STEPS: Final = 1_000  # of a procedure that goes on while its results please it


def plan_procedure(
    store: "Store",
    procedure: Procedure,
    budget: Budget | None,
    options: "SelectOptions",
    scoring: "ScoringOptions",
    size: PoolSize,
    progress: Progress,
) -> dict[str, Any]:
    """Go through the steps of a procedure with made-up results; say what each would do and cost.

    What depends on results, such as how many steps there are, may come out otherwise. Equal steps
    are one line. Raises what the run would raise for a missing model or too large a budget.
    """
    planner = _Planner(store, procedure, options, scoring, size, progress)
    run = procedure.run(budget, options.seed)
    result: Result | None = None
    for _ in range(MAX_STEPS):
        try:
            step = run.send(cast(Result, result))
        except StopIteration:
            break
        result = planner.see(step)
    else:
        raise ProcedureError(
            f"{procedure.name} has more than {MAX_STEPS:,} steps with made-up results; its plan cannot be shown"
        )
    lines = [f"{text}, {n} times" if n > 1 else text for text, n in planner.lines.items()]
    steps = [{"text": text, "times": n} for text, n in planner.lines.items()]
    said = f"{counted(planner.lines.total(), 'step')}; sizes are estimates where they depend on results"
    return {
        "steps": steps, "scored_tokens": planner.scored_tokens, "trained_tokens": planner.trained_tokens,
        "text": "\n".join([said, *(f"{i}. {line}" for i, line in enumerate(lines, 1)), *planner.total()]),
    }  # fmt: skip


@final
@dataclass
class _Planner:
    """Describes steps in order; knows the size of every selection that earlier ones would make."""

    store: "Store"
    procedure: Procedure
    options: "SelectOptions"
    scoring: "ScoringOptions"
    size: PoolSize
    progress: Progress
    sizes: dict[str, int] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    planned: set[str] = field(default_factory=set)
    scorers: set[str] = field(default_factory=set)
    scored_tokens: int = 0
    trained_tokens: int = 0

    def see(self, step: Step) -> Result:
        """Describe a step and return its made-up result."""
        eligible = self.size.n_eligible
        if isinstance(step, Select):
            eligible = self._eligible(step)
        result = foreseen(step, replace(self.size, n_eligible=eligible))
        if isinstance(step, Select):
            n = eligible if step.budget is None else min(int(result.facts["n_selected"]), eligible)
            tokens = round(n * self.size.tokens)
            result = replace(result, facts={**result.facts, "n_selected": n, "n_tokens": tokens})
            self.sizes[result.id] = n
        elif isinstance(step, Union):
            self.sizes[result.id] = sum(self.sizes.get(name, 0) for name in step.selections)
            result = replace(result, facts={"n_selected": self.sizes[result.id]})
        elif isinstance(step, Revise):
            self.sizes[result.id] = self.sizes.get(step.kept, eligible)
        elif isinstance(step, Generate | Judge):
            self.sizes[result.id] = self.sizes.get(
                step.selection if isinstance(step, Generate) else step.candidates, eligible
            )
        self.lines[self._text(step, result)] += 1
        return result

    def total(self) -> list[str]:
        """Return the last line: the cost of all steps together."""
        parts = [
            f"{tokens:,} tokens to {verb}"
            for tokens, verb in ((self.scored_tokens, "score"), (self.trained_tokens, "train on"))
            if tokens
        ]
        return [f"together about {' and '.join(parts)}"] if parts else []

    def _eligible(self, step: Select) -> int:
        without = sum(self.sizes.get(name, 0) for name in step.without)
        eligible = self.size.n_eligible if step.within is None else self.sizes[step.within]
        eligible = max(0, eligible - without)
        asked = None if step.budget is None else Budget.parse(step.budget)
        if (
            asked is not None
            and not asked.counts_tokens
            and self.size.count(step.budget) > eligible
        ):
            raise BudgetError(
                f"step {self.lines.total() + 1} of {self.procedure.name} selects "
                f"{self.size.count(step.budget):,} examples by {step.method}, and at most {eligible:,} reach "
                "it; give a smaller budget"
            )
        return eligible

    def _text(self, step: Step, result: Result) -> str:
        n = self.sizes.get(result.id, 0)
        match step:
            case Select():
                costs = self._needs(step)
                most = "" if step.budget else "at most "
                return f"select {most}{n:,} by {step.method}" + (
                    f": {'; '.join(costs)}" if costs else ""
                )
            case Score():
                return self._score(step)
            case Union():
                return f"unite {counted(len(step.selections), 'selection')}: at most {n:,} examples"
            case Train():
                return self._train(step)
            case Evaluate():
                return f"evaluate {self._model(step.model)} on {self._of(step.selection)}" + (
                    f", with its own answers of at most {step.answers} tokens"
                    if step.answers
                    else ""
                )
            case Mean():
                return f"average {', '.join(step.expressions)} over {self._of(step.selection)}"
            case Generate():
                return (
                    f"write an answer of at most {step.max_new_tokens} tokens to {self._of(step.selection)} "
                    f"with {self._model(step.model)}"
                )
            case Judge():
                refuse_untrained(self.procedure.name, step.role, self.scoring)
                return f"judge {n:,} answers with {self.scoring.models[step.role]} ({step.mode})"
            case Revise():
                return f"replace the responses of {n:,} examples where the judge prefers the answer"

    def _of(self, selection: str) -> str:
        if selection == TARGET_SET:
            return f"the target set {self.options.target}"
        return f"{self.sizes.get(selection, self.size.n_eligible):,} examples"

    def _model(self, model: str) -> str:
        return "the trained model" if model else "the model as it is"

    def _train(self, step: Train) -> str:
        refuse_untrained(self.procedure.name, step.role, self.scoring)
        model = self.scoring.models[step.role]
        settings = {**self.scoring.chat_settings, **step.settings}
        length = build_config(model, settings).length
        n = self.sizes.get(step.selection, self.size.n_eligible)
        tokens = length.max_tokens or round((length.epochs or 1) * n * self.size.tokens)
        if length.max_steps is not None:
            return f"train {model} on {self._of(step.selection)} for {length.max_steps} steps"
        self.trained_tokens += tokens
        return f"train {model} on {self._of(step.selection)}: about {tokens:,} tokens"

    def _score(self, step: Score) -> str:
        config = dict(step.config)
        if config.get("template") == AUTO:
            config["template"] = self._template(step.role or "target")
        read = self._made_here(step.scorer, config)
        self.scorers.add(step.scorer)
        where = "the pool" if step.within is None else self._of(step.within)
        if step.model:
            return f"score {where} by {step.scorer} with the trained model"
        recorded = run_scorer(step.scorer, config)
        if recorded is not None:
            role = step.role or recorded.role or "proxy"
            if role not in self.scoring.models:
                raise MissingColumnError(missing_model(step.scorer, self.scoring))
            return f"score {where} by {step.scorer}: trains {self.scoring.models[role]}"
        if read:
            return f"score {where} by {step.scorer}, from {', '.join(read)}"
        request = make_request(
            self.store, step.scorer, step.scorer, config, step.role, self.scoring
        )
        if request is None:
            raise MissingColumnError(missing_model(step.scorer, self.scoring, config))
        share = 1.0
        if step.within is not None:
            share = self.sizes.get(step.within, self.size.n_pool) / max(self.size.n_pool, 1)
        return f"score {where} by {step.scorer}: {self._cost(request, share)}"

    def _template(self, role: Role) -> str:
        """Return the template that a model of a role would be trained in."""
        refuse_untrained(self.procedure.name, role, self.scoring)
        name = self.scoring.models[role]
        resolved = resolve_model(name, revision=self.scoring.revision, chat=self.scoring.chat)
        config = build_config(name, dict(self.scoring.chat_settings))
        has_template = resolved.chat_template_hash is not None
        return config.resolved(has_chat_template=has_template).data.template

    def _made_here(self, scorer: str, config: Mapping[str, Any]) -> list[str]:
        """Return the scores a pool scorer reads that earlier steps make, and that are not there yet."""
        made = build(resolve_scorer(scorer, self.scoring.models), config)
        needs = made.requires().values() if isinstance(made, PoolScorer) else ()
        return [need.scorer for need in needs if need.scorer in self.scorers]

    def _needs(self, step: Select) -> list[str]:
        """Say what the selector of a step reads that is not scored yet."""
        settings = {key: str(value) for key, value in step.config.items()}
        made = build_method(step.method, settings)
        assert isinstance(made, Selector)
        costs = []
        for alias, need in made.requires().items():
            if alias in step.bind or not isinstance(need, Need) or need.scorer is None:
                continue
            if need.scorer in self.scorers or run_scorer(need.scorer, need.config) is not None:
                continue  # an earlier step makes it, or a training run that `Score` describes
            config = {**need.config, **scorer_settings(need.scorer, settings)}
            if self._made_here(need.scorer, config):
                continue
            request = make_request(self.store, need.scorer, alias, config, need.role, self.scoring)
            if request is None:
                stored = self.store.score_sets()
                if not any(one.complete and one.scorer == need.scorer for one in stored):
                    raise MissingColumnError(missing_model(need.scorer, self.scoring, config))
            elif request.key.set_id not in self.planned:
                costs.append(f"{alias}: {self._cost(request, 1.0)}")
        return costs

    def _cost(self, request: ScoreRequest, share: float) -> str:
        if request.key.set_id in self.planned:
            return "in the same pass as before"
        self.planned.add(request.key.set_id)
        report = plan(self.store, [request], self.scoring, None, self.progress)
        tokens = round(sum(pass_plan.tokens for pass_plan in report.passes) * share)
        examples = round(
            max((pass_plan.examples for pass_plan in report.passes), default=0) * share
        )
        if not examples:
            return "already scored" if not report.pool_scorers else "from other scores"
        self.scored_tokens += tokens
        return f"{examples:,} examples, {tokens:,} tokens"
