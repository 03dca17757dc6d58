"""Run a recipe: ingest, score, select and export from one YAML file."""

from curate.api.commands.groups import Shell
from curate.api.commands.others import RunCommand
from curate.cli.console import emit, progress
from curate.cli.options import from_options


@from_options(RunCommand)
def command(options: RunCommand, shell: Shell) -> None:
    """Run the recipe, or print it resolved; print what each step did."""
    from curate.api.recipe import load_recipe
    from curate.api.run_recipe import run_recipe

    overrides = dict(options.settings)
    if options.store is not None:
        overrides["store"] = str(options.store)
    loaded = load_recipe(options.recipe, overrides)
    if options.dry_run:
        import yaml

        document = loaded.model_dump(exclude_none=True)
        emit(document, shell.as_json, yaml.safe_dump(document, sort_keys=False).rstrip())
        return
    with progress(shell.quiet) as shown:
        report = run_recipe(loaded, shown)
    lines = [f"{step['step']}: {step['summary']}" for step in report["steps"]]
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else "\n".join(lines))
