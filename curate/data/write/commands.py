"""The commands that reproduce a selection and its export, as a user would type them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.contracts.describe import describe_fields
from curate.contracts.settings import spell_value
from curate.errors import ConfigError
from curate.registry import get_method, get_scorer

if TYPE_CHECKING:
    from curate.data.write.export import ExportSpec

MAX_IDS: Final = 20


def commands_of(record: Mapping[str, Any], how: "ExportSpec", output: Path) -> list[list[str]]:
    """Return `select` and `export` with their flags.

    `select` is left out if no flags describe it fully: inside another selection, or with more than
    `MAX_IDS` ids to include or exclude. Models and the output are named without their folders.
    """
    commands = [list(_export_words(record, how, output))]
    ids = [*record["include"], *record["exclude"]]
    if record.get("within") or len(ids) > MAX_IDS:
        return commands
    return [list(_select_words(record)), *commands]


def _select_words(record: Mapping[str, Any]) -> Iterator[str]:
    method = record["method"]
    yield from ("curate", "select", "--method", method)
    for name, value in _changed(method, record["config"]).items():
        yield from ("--set", f"{method}.{name}={value}")
    if record["budget"]:
        yield from ("--budget", record["budget"])
    for role, model in _models(record["specs"]).items():
        yield from ("--model", model) if role == "target" else ("--model-for", f"{role}={model}")
    if record["where"]:
        yield from ("--where", record["where"])
    for flag in ("include", "exclude"):
        if record[flag]:
            yield from (f"--{flag}", ",".join(record[flag]))
    for source, most in record["quota"].items():
        yield from ("--quota", f"{source}={most}")
    if record.get("mix"):
        yield from ("--mix", ",".join(f"{key}={share}" for key, share in record["mix"].items()))
    yield from ("--seed", str(record["seed"]))


def _changed(method: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that are not the defaults, as text."""
    try:
        known = {f.name: f for f in describe_fields(get_method(method))}
    except ConfigError:  # a method of a package that is not installed here
        known = {}
    changed = {}
    for name, value in config.items():
        text = spell_value(tuple(value) if isinstance(value, list) else value)
        about = known.get(name)
        if about is None or about.required or text != spell_value(about.default):
            changed[name] = text
    return changed


def _models(specs: Mapping[str, Any]) -> dict[str, str]:
    models: dict[str, str] = {}
    for spec in specs.values():
        name = spec["run"].get("model")
        if name:
            role = get_scorer(spec["key"]["scorer"]).role or "target"
            models[role] = Path(name).name if Path(name).is_absolute() else str(name)
    return models


def _export_words(record: Mapping[str, Any], how: "ExportSpec", output: Path) -> Iterator[str]:
    yield from ("curate", "export", "--selection", record["selection_id"], "-o", output.name)
    if how.trainer is not None:
        yield from ("--trainer", how.trainer)
    if how.to is not None and how.to != "input":
        yield from ("--to", how.to)
    if how.order != "rank":
        yield from ("--order", how.order)
    if how.validation is not None:
        yield from ("--validation", how.validation, "--seed", str(how.seed))
    if how.shard_rows is not None:
        yield from ("--shard-rows", str(how.shard_rows))
    for flag in ("annotate", "keep_duplicates", "lossy"):
        if getattr(how, flag):
            yield f"--{flag.replace('_', '-')}"
