"""Executes the steps of a procedure: select, score, train, evaluate and combine."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, final

import numpy as np

from curate.algorithms.cluster_draw import mean_by_cluster
from curate.contracts import (
    Budget,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Procedure,
    Result,
    Revise,
    Score,
    Select,
    Step,
    Train,
    Union,
)
from curate.contracts.progress import Progress
from curate.data.revisions import refuse_revised
from curate.errors import ProcedureError
from curate.models.load import load_model, load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.select.procedures.driver import step_to_json
from curate.select.procedures.rewards import reward_gaps
from curate.select.procedures.spent import Spent
from curate.select.procedures.trained import refuse_untrained, rows_to_train, scoring_with
from curate.select.record import config_of
from curate.select.towards import uses_target
from curate.store.records import canonical_json, digest, utc_now
from curate.train.data import prepare, rows_of_selection
from curate.train.recipes import build_config
from curate.train.steps.stream import MIN_UPDATES

if TYPE_CHECKING:
    from curate.contracts import Role
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.store import Store
    from curate.train.config import TrainConfig
    from curate.train.data import TrainRow

AUTO: Final = "auto"
OWN: Final = ""  # the model of the role, untrained
_COSTS: Final = ("tokens", "seconds", "flops")
_STEP: Final = "step.json"
_WEIGHTS: Final = "run"


@final
@dataclass(frozen=True)
class StepExecutor:
    """Executes the steps of one procedure on one store.

    Trained models stay in ``runs/`` of the store's parts until `forget_models` is called.
    ``select`` makes and stores the selection a step asks for, and returns its record.
    """

    store: "Store"
    procedure: Procedure
    options: "SelectOptions"
    scoring: "ScoringOptions"
    progress: Progress
    select: "Callable[[SelectOptions], Mapping[str, Any]]"
    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    texts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluated: list[Mapping[str, Any]] = field(default_factory=list)

    def __call__(self, step: Step) -> Result:
        """Carry out one step and return what it left in the store."""
        match step:
            case Score():
                return self._score(step)
            case Select():
                return self._select(step)
            case Union():
                return self._unite(step)
            case Train():
                return self._train(step)
            case Evaluate():
                return self._evaluate(step)
            case Mean():
                return self._mean(step)
            case Generate():
                return self._generate(step)
            case Judge():
                return self._judge(step)
            case Revise():
                return self._revise(step)

    def observe(self, step: Step, result: Result) -> None:
        """Record a step that was executed, now or by an earlier run."""
        if isinstance(step, Train):
            self.models[result.id] = result.facts
        elif isinstance(step, Generate | Judge):
            self.texts[result.id] = result.facts
        elif isinstance(step, Evaluate):
            self.evaluated.append(result.facts)

    def cost(self) -> dict[str, float]:
        """Return the cost of training, evaluating, writing and judging: models, tokens, seconds, flops (estimates)."""
        parts = [*self.models.values(), *self.texts.values(), *self.evaluated]
        # evaluations in the journal of an earlier version say nothing of their cost
        costs = {name: sum(part.get(name, 0) for part in parts) for name in _COSTS}
        return {"n_models": len(self.models), **costs}

    def forget_models(self) -> None:
        """Delete the weights the run has trained."""
        for model in self.models:
            shutil.rmtree(self._folder(model), ignore_errors=True)

    def _score(self, step: Score) -> Result:
        from curate.scoring.job import score_one

        config = dict(step.config)
        if config.get("template") == AUTO:
            config["template"] = self._config(Train("", role=step.role or "target")).data.template
        scoring = self._scoring_with(step.model, step.role or "target")
        report = score_one(
            self.store, step.scorer, config, step.role, scoring, self.progress, step.within
        )
        return Result(report.sets[0].status.set_id, report.facts())

    def _select(self, step: Select) -> Result:
        options = replace(
            self.options,
            method=step.method,
            budget=step.budget,
            settings={key: str(value) for key, value in step.config.items()},
            seed=step.seed,
            within=step.within or self.options.within,
            without=(*self.options.without, *step.without),
            bind=step.bind,
            target=self.options.target if uses_target(step.method) else None,
        )
        record = self.select(options)
        return Result(
            record["selection_id"],
            {name: record[name] for name in ("n_pool", "n_eligible", "n_selected", "n_tokens")},
        )

    def _unite(self, step: Union) -> Result:
        record = united(self.store, self.procedure, self.options, step.selections)
        return Result(record["selection_id"], {"n_selected": record["n_selected"]})

    def _train(self, step: Train) -> Result:
        from curate.store.parts import write_json
        from curate.train.api import train

        rows, towards = rows_to_train(self.store, step.selection, self.options.target)
        config = self._fitting(step, rows)
        document = step_to_json(step)
        decides = [document, config.identity(), self._fingerprint(step), *towards]
        model = digest(canonical_json(decides), 8)
        folder = self._folder(model)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _STEP, document)
        held_out = {} if step.evaluate is None else {"held-out": self._rows(step.evaluate)}
        record = train(
            config,
            rows,
            folder / _WEIGHTS,
            evaluation=held_out,
            progress=self.progress,
        )
        facts: dict[str, Any] = {
            "tokens": record.cost.tokens + record.cost.other_tokens,
            "seconds": record.cost.seconds,
            "flops": record.cost.flops,
        }
        if held_out:
            facts["nll"] = record.final("held-out").mean_nll
        return Result(model, facts)

    def _evaluate(self, step: Evaluate) -> Result:
        spent = Spent()
        values = self._gaps(step, spent) if step.rewards else self._loss_differences(step, spent)
        view = self.store.view(bind=step.bind, expressions={"by": step.by}, within=step.selection)
        groups = view.scores("by")
        measured = np.array([values.get(i.decode(), np.nan) for i in view.ids])
        known = np.isfinite(groups) & np.isfinite(measured)
        labels, codes = np.unique(groups[known], return_inverse=True)
        means = mean_by_cluster(measured[known], codes, len(labels))
        counts = np.bincount(codes, minlength=len(labels))
        by_label = {
            str(int(label)): [count, mean]
            for label, count, mean in zip(labels, counts.tolist(), means.tolist(), strict=True)
        }
        return Result(step.selection, {"groups": by_label, **spent.facts()})

    def _gaps(self, step: Evaluate, spent: Spent) -> dict[str, float]:
        answers = [row.example for row in self._answers(step, spent)]
        return reward_gaps(self.store, step.rewards, answers, self.scoring)

    def _loss_differences(self, step: Evaluate, spent: Spent) -> dict[str, float]:
        values = self._losses(step.model, step, spent)
        if step.minus is not None:
            other = self._losses(step.minus, step, spent)
            values = {i: other[i] - value for i, value in values.items()}
        if step.answers:
            answered = self._losses(step.model, step, spent, self._answers(step, spent))
            values = {i: value - answered.get(i, np.nan) for i, value in values.items()}
        return values

    def _mean(self, step: Mean) -> Result:
        view = self.store.view(bind=step.bind, expressions=step.expressions, within=step.selection)
        means = {name: float(np.nanmean(view.scores(name))) for name in step.expressions}
        return Result(step.selection, {"mean": means})

    def _generate(self, step: Generate) -> Result:
        from curate.select.procedures.correct.execute import Writer, generate

        trained = self._trained(step.model)
        config = self._config(trained)
        base = Path(config.model).name if Path(config.model).is_dir() else config.model
        name = f"{base} fine-tuned on selection {trained.selection}"
        writer = Writer(config, self._weights(step.model), name)
        return generate(self.store, step, writer, self.scoring, self.progress)

    def _judge(self, step: Judge) -> Result:
        from curate.select.procedures.correct.execute import judge

        return judge(self.store, step, self.scoring, self.progress)

    def _revise(self, step: Revise) -> Result:
        from curate.select.procedures.correct.revise import revised

        record = revised(self.store, self.procedure, self.options, step)
        return Result(
            record["selection_id"], {"n_selected": record["n_selected"], **record["corrected"]}
        )

    def _losses(
        self, model: str, step: Evaluate, spent: Spent, rows: "Sequence[TrainRow] | None" = None
    ) -> dict[str, float]:
        """Return the mean NLL per response token of each example, by id."""
        from curate.train.evaluation.evaluate import summed_nll

        trained = Train(step.selection, role=step.role) if model == OWN else self._trained(model)
        config = self._config(trained)
        path = config.model if model == OWN else str(self._weights(model))
        loaded = load_model(resolve_model(path), config.compute.device, "float32")
        renderer = Renderer(loaded.tokenizer, loaded.resolved.max_length, config.data.chat)
        wanted = self._rows(step.selection) if rows is None else rows
        prepared = prepare(wanted, renderer, config.data.rendering, "evaluation")
        assert config.data.micro_tokens is not None
        sums = summed_nll(loaded, prepared.rendered, config.data.micro_tokens)
        spent.add(int(prepared.lengths.sum()), loaded.resolved.n_parameters)
        means = (sums / prepared.n_targets).tolist()
        return {row.id: mean for row, mean in zip(prepared.rows, means, strict=True)}

    def _answers(self, step: Evaluate, spent: Spent) -> "list[TrainRow]":
        """Return a selection's rows with the model's own greedy answers; empty answers are left out."""
        from curate.train.evaluation.generation import answered

        if step.model == OWN:
            raise ProcedureError("answers must come from a model that an earlier step trained")
        config = self._config(self._trained(step.model))
        weights, rows = self._weights(step.model), self._rows(step.selection)
        made = answered(config, weights, rows, step.answers)
        spent.add(made.n_tokens, made.n_parameters)
        return made.rows

    def _config(self, step: Train) -> "TrainConfig":
        refuse_untrained(self.procedure.name, step.role, self.scoring)
        name = self.scoring.models[step.role]
        settings = {
            "compute.device": self.scoring.device,
            **self.scoring.chat_settings,
            **step.settings,
        }
        resolved = resolve_model(name, revision=self.scoring.revision, chat=self.scoring.chat)
        config = build_config(name, settings, revision=self.scoring.revision, seed=step.seed)
        return config.resolved(has_chat_template=resolved.chat_template_hash is not None)

    def _scoring_with(self, model: str, role: "Role") -> "ScoringOptions":
        if model == OWN:
            return self.scoring
        is_adapter = self._config(self._trained(model)).method.lora is not None
        return scoring_with(self.scoring, role, self._weights(model), is_adapter=is_adapter)

    def _fitting(self, step: Train, rows: "Sequence[TrainRow]") -> "TrainConfig":
        """Return a step's settings with a batch small enough for a few updates."""
        config = self._config(step)
        if "data.batch_tokens" in step.settings:
            return config
        resolved = resolve_model(config.model, revision=config.revision, chat=config.data.chat)
        renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)
        tokens = int(prepare(rows, renderer, config.data.rendering).lengths.sum())
        batch = max(1, min(config.data.batch_tokens, tokens // MIN_UPDATES))
        return replace(config, data=replace(config.data, batch_tokens=batch))

    def _fingerprint(self, step: Train) -> str:
        return resolve_model(
            self.scoring.models[step.role], revision=self.scoring.revision
        ).fingerprint

    def _rows(self, selection: str) -> "list[TrainRow]":
        """Return what to evaluate on: a selection's rows, all alike."""
        return [replace(row, weight=1.0) for row in rows_of_selection(self.store, selection)]

    def _trained(self, model: str) -> Train:
        from curate.store.parts import read_json

        path = self._folder(model) / _STEP
        if not path.is_file() or not self._weights(model).is_dir():
            raise ProcedureError(
                f"the model {model} that method {self.procedure.name!r} trained was deleted from "
                f"{self._folder(model)}; delete the folder {self.store.parts / 'procedures'} to run "
                "the procedure from the start (finished scores are kept)"
            )
        document: Mapping[str, Any] = read_json(path)
        return Train(**{name: value for name, value in document.items() if name != "kind"})

    def _weights(self, model: str) -> Path:
        return self._folder(model) / _WEIGHTS

    def _folder(self, model: str) -> Path:
        return self.store.parts / "runs" / f"step-{model}"


def united(
    store: "Store", procedure: Procedure, options: "SelectOptions", selections: Sequence[str]
) -> dict[str, Any]:
    """Save, under a procedure's name, all examples of several selections in order.

    An example in several keeps its first place. The selections' score sets and warnings are kept.
    """
    import polars as pl

    refuse_revised(store, selections, "combining it with others")
    parts = [store.selection(selection_id) for selection_id in selections]
    tables = [pl.from_arrow(store.selection_rows(selection_id)) for selection_id in selections]
    rows: Any = pl.concat(cast(Any, tables)).unique("id", keep="first", maintain_order=True)
    rows = rows.with_columns(pl.int_range(1, rows.height + 1).alias("rank"))
    score_sets, specs = _merged(parts)
    identity = {
        **{name: parts[0][name] for name in ("where", "include", "exclude", "quota", "datasets")},
        "method": procedure.name,
        "config": config_of(procedure),
        "budget": options.budget and str(Budget.parse(options.budget)),
        "seed": options.seed,
        "within": options.within,
        "score_sets": score_sets,
        "selections": list(selections),
    }
    tokens = [part["n_tokens"] for part in parts]
    counts = {
        **{name: parts[0]["counts"][name] for name in ("n_pool", "n_eligible", "n_excluded")},
        "n_selected": rows.height,
        "n_tokens": None if None in tokens or sum(o["n_selected"] for o in parts) != rows.height
        else sum(tokens),
    }  # fmt: skip
    ratios = [part["length_ratio"] for part in parts]
    weights = [part["n_selected"] for part in parts]
    record = {
        "selection_id": digest(canonical_json(identity), 8),
        **identity,
        **counts,
        "counts": counts,
        "length_ratio": None if None in ratios else float(np.average(ratios, weights=weights)),
        "warnings": list(dict.fromkeys(w for part in parts for w in part["warnings"])),
        "created_at": utc_now(),
        "specs": specs,
        "inputs": parts[0]["inputs"],
        "versions": parts[0]["versions"],
    }
    store.save_selection(record, rows.to_arrow())
    return record


def _merged(parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the score sets that selections read, and their specs, by alias.

    If an alias stands for several sets, all but the first get their id as a suffix.
    """
    sets: dict[str, Any] = {}
    specs: dict[str, Any] = {}
    for part in parts:
        for alias, read in part["score_sets"].items():
            other = alias in sets and sets[alias]["set_id"] != read["set_id"]
            name = f"{alias}-{read['set_id']}" if other else alias
            sets[name], specs[name] = read, part["specs"][alias]
    return sets, specs
