"""Run a recipe: the same steps as the commands, in order."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from curate.api.commands.option import options_of
from curate.api.pool import Pool
from curate.api.recipe import Recipe
from curate.api.recipe_steps import MAKES, RecipeStep, is_adapter
from curate.contracts.progress import Progress
from curate.errors import ConfigError

WriteDemo: TypeAlias = Callable[[Path, Progress], object]

_COUNTS: Final = ("n_read", "n_added", "n_duplicate", "n_failed")


def run_recipe(
    recipe: Recipe, progress: Progress, write_demo: WriteDemo | None = None
) -> dict[str, Any]:
    """Do what a recipe says, step by step; return the resolved recipe and what each step did.

    Finished steps cost nothing: the recipe can be rerun after any failure. ``write_demo`` writes
    the built-in pool and model into a folder, for recipes that ask for it.
    """
    if recipe.demo is not None:
        if write_demo is None:
            raise ConfigError(
                f"the recipe works on the built-in pool; run it with curate run {recipe.path}"
            )
        write_demo(Path(recipe.demo), progress)
    pool = Pool(recipe.store, create=True, progress=progress)
    made: dict[str, dict[str, Any]] = {}
    steps = []
    waiting = recipe.targets
    for step in recipe.steps:
        if step.command != "ingest":
            steps += [_add_target(pool, name, data) for name, data in waiting.items()]
            waiting = {}
        options = _with_inputs(step, made)
        document = _RUN[step.command](pool, options, recipe)
        if step.command in MAKES:
            made[step.name] = _product(step, options, document)
        steps.append({"step": step.label, **document})
    steps += [_add_target(pool, name, data) for name, data in waiting.items()]
    return {"recipe": dict(recipe.resolved), "steps": steps}


def _add_target(pool: Pool, name: str, data: tuple[str, ...]) -> dict[str, Any]:
    document = pool.target.add(name, *data).as_dict()
    summary = f"{document['n_examples']:,} examples, {document['n_in_pool']:,} of them in the pool"
    return {"step": f"target {name}", "summary": summary, **document}


def _with_inputs(step: RecipeStep, made: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the command with what earlier steps made in place of the names of those steps."""
    known = {option.name: option for option in options_of(type(step.options))}
    values = {}
    for name, source in step.inputs.items():
        value = made[source][name if name == "adapter" else str(known[name].declared.takes)]
        values[name] = (value,) if known[name].is_list else value
    return replace(step.options, **values)


def _product(step: RecipeStep, options: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a step made, for those that take it."""
    if MAKES[step.command] == "selection":
        return {"selection": document["selection_id"]}
    if is_adapter(step):
        return {"model": options.model, "adapter": str(options.output)}
    return {"model": str(options.output)}


def _ingest(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    documents = [asdict(report) for report in options.run(pool)]
    total = {key: sum(document[key] for document in documents) for key in _COUNTS}
    summary = f"{total['n_read']:,} rows read, {total['n_added']:,} examples added"
    return {"summary": summary, **total, "datasets": documents}


def _gather(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    gathered = options.run(pool)
    gathered.raise_for_failures()
    document: dict[str, Any] = gathered.as_dict()
    n_added = sum(one["n_added"] for one in document["models"])
    return {"summary": f"{n_added:,} responses added", **document}


def _score(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    report = options.run(pool)
    report.raise_for_failures()
    document: dict[str, Any] = report.as_dict()
    n_scored = sum(score_set["n_scored"] for score_set in document["score_sets"])
    return {"summary": f"{n_scored:,} scored", **document}


def _select(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    document: dict[str, Any] = options.run(pool).document
    summary = f"{document['n_selected']:,} of {document['n_pool']:,} by {document['method']}"
    return {"summary": summary, **document}


def _train(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    record = options.run(pool)
    document: dict[str, Any] = record.as_dict()
    summary = f"{record.outcome['steps']:,} steps on {record.cost.tokens:,} tokens"
    return {"summary": f"{summary}, weights in {options.output}", **document}


def _prove(pool: Pool, options: Any, recipe: Recipe) -> dict[str, Any]:
    document = options.run(pool, f"curate run {recipe.path}")
    verdicts = [f"{label}: {row['verdict']}" for label, row in document["methods"].items()]
    return {"summary": "; ".join(verdicts), **document}


def _export(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    document: dict[str, Any] = options.run(pool)
    return {"summary": f"{document['n_rows']:,} rows to {document['output']}", **document}


def _report(pool: Pool, options: Any, _: Recipe) -> dict[str, Any]:
    document: dict[str, Any] = options.run(pool)
    return {"summary": f"{document['bytes']:,} bytes in {document['output']}", **document}


_RUN: Final[Mapping[str, Callable[[Pool, Any, Recipe], dict[str, Any]]]] = {
    "ingest": _ingest, "gather": _gather, "score": _score, "select": _select, "train": _train, "prove": _prove,
    "export": _export, "report": _report,
}  # fmt: skip
