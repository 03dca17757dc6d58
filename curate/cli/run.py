"""Run a recipe: the steps of a whole experiment from one YAML file."""

from pathlib import Path

from curate.api.commands.groups import Shell
from curate.api.commands.others import RunCommand
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options
from curate.demo.examples import example_path, examples
from curate.demo.run import write_demo
from curate.errors import ConfigError


@from_options(RunCommand)
def command(options: RunCommand, shell: Shell) -> None:
    """Run the recipe, or print it resolved; print what each step did."""
    if options.list_examples:
        listed = examples()
        text = table(("example", "what it shows"), list(listed.items()))
        emit(listed, shell.as_json, f"{text}\nrun one: curate run --example NAME")
        return
    path = _recipe(options)
    if options.output is not None:
        copied = _copy(path, options.output)
        text = f"wrote {copied['output']}; change it, then: curate run {copied['output']}"
        emit(copied, shell.as_json, text)
        return
    _run(path, options, shell)


def _run(path: Path, options: RunCommand, shell: Shell) -> None:
    from curate.api.recipe import load_recipe
    from curate.api.run_recipe import run_recipe

    overrides = dict(options.settings)
    if options.store is not None:
        overrides["store"] = str(options.store)
    recipe = load_recipe(path, overrides)
    if options.dry_run:
        import yaml

        text = yaml.safe_dump(dict(recipe.resolved), sort_keys=False, allow_unicode=True).rstrip()
        emit(recipe.resolved, shell.as_json, text)
        return
    with progress(shell.quiet) as shown:
        report = run_recipe(recipe, shown, write_demo)
    lines = [f"{step['step']}: {step['summary']}" for step in report["steps"]]
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else "\n".join(lines))


def _recipe(options: RunCommand) -> Path:
    """Return the file that is asked for."""
    if (options.recipe is None) == (options.example is None):
        raise ConfigError(
            "give either a RECIPE or --example NAME; see curate run --list-examples for the names"
        )
    if options.example is not None:
        return example_path(options.example)
    if options.output is not None:
        raise ConfigError("-o writes an example to a file; give it with --example NAME")
    assert options.recipe is not None
    return options.recipe


def _copy(example: Path, output: Path) -> dict[str, str]:
    """Write an example to a file that is not there yet."""
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(example.read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigError(f"{str(output)!r} exists; give -o another name, or remove it") from None
    except OSError as error:
        raise ConfigError(
            f"cannot write {str(output)!r}: {error.strerror}; choose another place with -o"
        ) from error
    return {"example": example.stem, "output": str(output)}
