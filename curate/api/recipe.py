"""Recipes: one YAML file with the same steps as the commands, checked before anything runs."""

from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.errors import ConfigError, did_you_mean


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PoolSection(_Section):
    """What `curate ingest` takes."""

    data: list[str] = Field(min_length=1)
    format: str = "auto"
    split: str = "train"
    source: str | None = None
    columns: dict[str, str] = {}
    limit: int | None = None
    on_error: Literal["fail", "skip"] = "fail"


class ModelSection(_Section):
    """Which models the scorers run, and how; shared by every scorer of the recipe."""

    target: str | None = None
    proxy: str | None = None
    encoder: str | None = None
    reward: str | None = None
    nli: str | None = None
    judge: str | None = None
    reference: str | None = None
    adapter: str | None = None
    revision: str | None = None
    template: Literal["method", "chat", "plain"] = "method"
    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    workers: int | None = None
    max_failures: str = "1%"


class ScoreSection(_Section):
    """One scorer: the section's key is its alias."""

    scorer: str
    set: dict[str, Any] = {}


class SelectSection(_Section):
    """What `curate select` takes."""

    method: str = "top-k"
    budget: str | int | None = None
    seed: int = 0
    where: str | None = None
    rank: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    quota: dict[str, str] = {}
    set: dict[str, Any] = {}


class ExportSection(_Section):
    """What `curate export` takes."""

    output: str
    to: Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"] = "input"
    order: Literal["rank", "input"] = "rank"
    annotate: bool = False
    keep_duplicates: bool = False
    trainer: Literal["llama-factory", "axolotl", "trl"] | None = None
    validation: str | None = None
    seed: int = 0
    shard_rows: int | None = None
    lossy: bool = False


class Recipe(_Section):
    """A whole run: pool, scores, selection and export; every section except the pool is optional."""

    store: str = "curate.duckdb"
    pool: PoolSection
    models: ModelSection = ModelSection()
    score: dict[str, ScoreSection] = {}
    select: SelectSection | None = None
    export: ExportSection | None = None


_SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "pool": PoolSection,
    "models": ModelSection,
    "select": SelectSection,
    "export": ExportSection,
}


def load_recipe(path: Path, overrides: dict[str, str]) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides, values in YAML syntax.

    Raises `ConfigError` for a missing file, bad YAML, an unknown key (with the nearest spelling)
    or a value of the wrong type; the message has the key's full path.
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
            f"recipe {str(path)!r} must be a mapping of sections: pool, score, select, export"
        )
    for key, value in overrides.items():
        _override(document, key.split("."), _parsed(value, f"--set {key}={value}"))
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"recipe {str(path)!r}: {_first_problem(error)}") from error


def _parsed(text: str, what: str) -> Any:
    """Return YAML as values; raise `ConfigError` in one line."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "unreadable"
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{what} is not valid YAML: {problem}{where}") from error


def _override(document: dict[str, Any], path: list[str], value: Any) -> None:
    at = document
    for key in path[:-1]:
        at = at.setdefault(key, {})
        if not isinstance(at, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {key!r} is not a section")
    at[path[-1]] = value


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()  # a misspelt key also leaves one missing: name the misspelling
    unknown = [one for one in problems if one["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path)
    if problem["type"] == "missing":
        return f"{where} is missing; add it"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].lower()}, got {problem.get('input')!r}"
    known = list(_fields_at(path[:-1]))
    hint = did_you_mean(path[-1], known)
    return f"unknown key {where!r}{hint}; known here: {', '.join(known)}"


def _fields_at(path: list[str]) -> list[str]:
    if not path:
        return list(Recipe.model_fields)
    if path[0] == "score":
        return list(ScoreSection.model_fields)
    return list(_SECTIONS[path[0]].model_fields)
