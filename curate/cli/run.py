"""Run a recipe: ingest, score, select and export from one YAML file."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.console import emit, progress
from curate.cli.options import DryRun, Json, Quiet, Setting, Verbose, configure_logging, pairs


def command(
    recipe: Annotated[Path, typer.Argument(help="A YAML file with the sections pool, models, score, select, export.")],
    setting: Setting = None,
    store: Annotated[Path | None, typer.Option("--store", help="Use this store instead of the recipe's.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Run a recipe: ingest, score, select and export from one YAML file."""
    configure_logging(verbose)
    from curate.api.recipe import load_recipe
    from curate.api.run_recipe import run_recipe

    overrides = pairs(setting, "--set")
    if store is not None:
        overrides["store"] = str(store)
    loaded = load_recipe(recipe, overrides)
    if dry_run:
        import yaml

        document = loaded.model_dump(exclude_none=True)
        emit(document, as_json, yaml.safe_dump(document, sort_keys=False).rstrip())
        return
    with progress(quiet) as shown:
        report = run_recipe(loaded, shown)
    lines = [f"{step['step']}: {step['summary']}" for step in report["steps"]]
    emit(report, as_json, "" if quiet and not as_json else "\n".join(lines))
