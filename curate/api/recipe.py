"""Recipes: one YAML file with the same steps as the commands, checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, final

import yaml

from curate.api.commands.catalogue import STEPS
from curate.api.recipe_steps import (
    FROM,
    NAME,
    PREVIOUS,
    Entry,
    RecipeStep,
    check_keys,
    filled,
    read_mapping,
    read_models,
    read_step,
)
from curate.errors import ConfigError, CurateError, did_you_mean

_POOL: Final = "pool"  # what the section of `ingest` has always been called
_SECTIONS: Final = {_POOL: "ingest", **{name: name for name in STEPS}}
_MAX_VALUES: Final = 1_000_000
_AROUND: Final = ("store", "demo", "models", "targets")


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole run.

    Parameters
    ----------
    path
        The file.
    store
        The store it works on.
    demo
        Folder to write the built-in pool, held-out tasks and tiny model into first, or None.
    targets
        Data of each target set, by name; added once what is ingested first is in the pool.
    steps
        What is done, in order.
    resolved
        The recipe with every default filled in; it is a recipe too, and does the same.
    """

    path: Path
    store: str
    demo: str | None
    targets: Mapping[str, tuple[str, ...]]
    steps: tuple[RecipeStep, ...]
    resolved: Mapping[str, Any]


def load_recipe(path: Path, overrides: Mapping[str, str]) -> Recipe:
    """Read a recipe and apply ``step.key=value`` overrides, values in YAML syntax.

    Raises `ConfigError` for a missing file, bad YAML, an unknown key (with the nearest spelling), a
    value that does not fit or a step that refers to none; the message has the key's full path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read recipe {str(path)!r}: {error.strerror}; give the path of a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"recipe {str(path)!r} is not UTF-8 at byte {error.start}") from error
    document = _parsed(text, f"recipe {str(path)!r}")
    if not isinstance(document, dict):
        raise ConfigError(
            f"recipe {str(path)!r} must be a mapping with steps, or with the sections: "
            f"{', '.join(_SECTIONS)}"
        )
    try:
        check_keys(document, "", [*_AROUND, "steps", *_SECTIONS])
        for key, value in overrides.items():
            _override(document, key.split("."), _parsed(value, f"--set {key}={value}"))
        return _checked(path, document)
    except CurateError as error:
        raise ConfigError(f"recipe {str(path)!r}: {error}") from error


def _checked(path: Path, document: dict[str, Any]) -> Recipe:
    models = read_models(document.get("models") or {})
    steps: list[RecipeStep] = []
    for entry in _entries(document):
        steps.append(read_step(entry, models, steps))
    if not steps:
        raise ConfigError(f"there is nothing to do; add steps, or one of: {', '.join(_SECTIONS)}")
    demo = document.get("demo")
    return Recipe(
        path=path,
        store=str(document.get("store") or "curate.duckdb"),
        demo=None if demo is None else str(demo),
        targets=_targets(document.get("targets")),
        steps=tuple(steps),
        resolved=_resolved(document, steps),
    )


def _targets(given: Any) -> dict[str, tuple[str, ...]]:
    """Read the section of target sets: data, or a list of data, by name."""
    by_name = {}
    for name, data in read_mapping(given, "targets").items():
        listed = data if isinstance(data, list) else [data]
        if not listed or not all(isinstance(dataset, str) and dataset for dataset in listed):
            raise ConfigError(
                f"targets.{name} must be a file or a list of files, got {data!r}; "
                f"write {name}: dev.jsonl"
            )
        by_name[str(name)] = tuple(listed)
    return by_name


# Where the steps stand ---------------------------------------------------------------------------


def _entries(document: Mapping[str, Any]) -> list[Entry]:
    """Return the steps as written, under ``steps`` or one to a section, in the order they run."""
    sections = [name for name in _SECTIONS if name in document]
    if "steps" not in document:
        return [entry for name in sections for entry in _section(name, document)]
    if sections:
        raise ConfigError(
            f"steps and the section {sections[0]!r} do not go together; make it a step"
        )
    steps = document["steps"]
    if not isinstance(steps, list):
        raise ConfigError(f"steps must be a list, got {steps!r}; write - select: {{...}}")
    names = _step_names(steps)
    return [
        Entry(command, name, name, given)
        for name, (command, given) in zip(names, map(_one_step, steps), strict=True)
    ]


def _one_step(item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, dict) or len(item) != 1:
        raise ConfigError(
            f"a step is one command with its keys, as in - select: {{method: grape}}, got {item!r}"
        )
    [(command, given)] = item.items()
    if command not in STEPS:
        hint = did_you_mean(str(command), STEPS)
        raise ConfigError(f"no step {command!r}{hint}; steps are: {', '.join(STEPS)}")
    return command, read_mapping(given, command)


def _step_names(steps: Sequence[Any]) -> list[str]:
    """Return what each step is called: its own name, or its command and which of them it is."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for command, given in map(_one_step, steps):
        seen[command] = seen.get(command, 0) + 1
        default = command if seen[command] == 1 else f"{command}-{seen[command]}"
        name = str(given.get(NAME, default))
        if name in names:
            raise ConfigError(f"two steps are called {name!r}; give one of them another name")
        names.append(name)
    return names


def _section(section: str, document: Mapping[str, Any]) -> list[Entry]:
    """Return the steps of a section: one, or of ``score`` one for each alias."""
    command = _SECTIONS[section]
    given = read_mapping(document[section], section)
    if command == "score" and not any(word in given for word in ("scorer", "scorers")):
        return [
            Entry(
                command, alias, f"{section}.{alias}", {"as": alias, **read_mapping(settings, alias)}
            )
            for alias, settings in given.items()
        ]
    taken = any(key in given for key in (FROM, "selection", "data"))
    if command in ("train", "export") and not taken:
        if "select" not in document:
            raise ConfigError(
                f"the recipe has the section {section!r} but selects nothing; add a select section"
            )
        given = {FROM: PREVIOUS, **given}
    return [Entry(command, section if section != _POOL else command, section, given)]


# The file itself ---------------------------------------------------------------------------------


def _parsed(text: str, what: str) -> Any:
    """Return YAML as values; raise `ConfigError` in one line."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        problem = "" if node is None else _too_large(node)
        if not problem:
            return None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"{what} is nested too deeply to be read") from error
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "unreadable"
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{what} is not valid YAML: {problem}{where}") from error
    except (ValueError, OverflowError) as error:  # the 13th month, or a number of 5,000 digits
        raise ConfigError(f"{what} has a value that cannot be read: {error}; quote it") from error
    finally:
        if loader is not None:
            loader.dispose()
    raise ConfigError(f"{what} {problem}; write out what is meant")


def _too_large(root: yaml.Node) -> str:
    """Return in words that aliases (``*a``) hold themselves, or multiply without measure, or ""."""
    sizes: dict[int, int] = {}  # of each list or mapping with what it names; 0 while it is counted

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = 0
            pairs = isinstance(node, yaml.MappingNode)
            inner = chain.from_iterable(node.value) if pairs else node.value
            sizes[id(node)] = 1 + sum(map(size, inner))
        return sizes[id(node)] or _MAX_VALUES + 1

    n = size(root)
    if n <= _MAX_VALUES:
        return ""
    return f"has more than {_MAX_VALUES:,} values once its aliases are followed, or one that holds itself"


def _override(document: dict[str, Any], path: list[str], value: Any) -> None:
    at = document
    if "steps" in document and path[0] not in _AROUND:
        names = _step_names(document["steps"])
        if path[0] not in names:
            hint = did_you_mean(path[0], names)
            raise ConfigError(
                f"--set {'.'.join(path)}: no step {path[0]!r}{hint}; steps are: {', '.join(names)}"
            )
        item = document["steps"][names.index(path[0])]
        [command] = item
        item[command] = at = read_mapping(item[command], command)
        path = path[1:]
    for key in path[:-1]:
        inner = at.setdefault(key, {})
        at[key] = inner = {} if inner is None else inner
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {key!r} is not a section")
        at = inner
    if not path:
        raise ConfigError("--set STEP=VALUE sets a whole step; name a key of it, STEP.KEY=VALUE")
    at[path[-1]] = value


def _resolved(document: Mapping[str, Any], steps: Sequence[RecipeStep]) -> dict[str, Any]:
    """Return the document with every default of every step, in its own form."""
    resolved = {key: document[key] for key in _AROUND if document.get(key) is not None}
    resolved.setdefault("store", "curate.duckdb")
    if "steps" in document:
        return {**resolved, "steps": [{step.command: filled(step, named=True)} for step in steps]}
    for step in steps:
        section, _, alias = step.path.partition(".")
        if alias:
            resolved.setdefault(section, {})[alias] = filled(step)
        else:
            resolved[section] = filled(step)
    return resolved
