"""Run a recipe: the same steps as the commands, in order."""

from dataclasses import asdict
from typing import Any

from curate.api.pool import Pool, StoredSelection
from curate.api.recipe import ModelSection, Recipe
from curate.contracts.progress import Progress
from curate.errors import ConfigError

ROLE_KEYS = ("proxy", "encoder", "reward", "nli", "judge", "reference")


def run_recipe(recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Ingest, score, select and export as a recipe says; return what each step did.

    Finished steps cost nothing: the recipe can be rerun after any failure.
    """
    if recipe.export is not None and recipe.select is None:
        raise ConfigError(
            "the recipe has an export section but selects nothing; add a select section"
        )
    pool = Pool(recipe.store, progress=progress)
    steps = [_ingest(pool, recipe)]
    models = _models(recipe.models)
    for alias, section in recipe.score.items():
        settings = {key: str(value) for key, value in section.set.items()}
        report = pool.score(section.scorer, alias=alias, settings=settings, **models)
        report.raise_for_failures()
        document = report.as_dict()
        n_scored = sum(one["n_scored"] for one in document["score_sets"])
        steps.append({"step": f"score {alias}", "summary": f"{n_scored:,} scored", **document})
    if recipe.select is not None:
        selected = _select(pool, recipe, models)
        if recipe.export is not None:
            exported = selected.export(**recipe.export.model_dump())
        document = selected.document
        summary = f"{document['n_selected']:,} of {document['n_pool']:,} by {document['method']}"
        steps.append({"step": "select", "summary": summary, **document})
        if recipe.export is not None:
            summary = f"{exported['n_rows']:,} rows to {exported['output']}"
            steps.append({"step": "export", "summary": summary, **exported})
    return {"recipe": recipe.model_dump(exclude_none=True), "steps": steps}


def _ingest(pool: Pool, recipe: Recipe) -> dict[str, Any]:
    section = recipe.pool
    reports = pool.ingest(*section.data, **section.model_dump(exclude={"data"}))
    documents = [asdict(report) for report in reports]
    total = {
        k: sum(d[k] for d in documents) for k in ("n_read", "n_added", "n_duplicate", "n_failed")
    }
    summary = f"{total['n_read']:,} rows read, {total['n_added']:,} examples added"
    return {"step": "ingest", "summary": summary, **total, "datasets": documents}


def _models(section: ModelSection) -> dict[str, Any]:
    values = section.model_dump()
    model_for = {role: values.pop(role) for role in ROLE_KEYS}
    return {
        "model": values.pop("target"),
        "model_for": {role: name for role, name in model_for.items() if name is not None},
        **values,
    }


def _select(pool: Pool, recipe: Recipe, models: dict[str, Any]) -> StoredSelection:
    assert recipe.select is not None
    values = recipe.select.model_dump()
    settings = {key: str(value) for key, value in values.pop("set").items()}
    return pool.select(**values, settings=settings, **models)
