"""Commands from the keywords of a pool's methods, whose signatures say every option by name and type."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from curate.api.commands.option import (
    Command,
    Option,
    by_word,
    from_keywords,
    options_of,
    put,
    unknown_option,
)
from curate.api.commands.select import SelectCommand, method_or_default
from curate.api.selection import StoredSelection, id_of, ids_given
from curate.contracts import Procedure, Selector
from curate.errors import ConfigError, did_you_mean
from curate.registry import get_method
from curate.select.inline import named

Texts: TypeAlias = str | Path | Sequence[str | Path]
Method: TypeAlias = str | Selector | Procedure | Callable[..., Any]
Chosen: TypeAlias = str | StoredSelection
Examples: TypeAlias = Any  # ids, a file of ids, selections, or a table or series of ids
Arms: TypeAlias = Mapping[str, Mapping[str, Any]] | str | Sequence[str]
Reasoning: TypeAlias = Literal["inline", "drop", "fail"]
Mask: TypeAlias = Literal["curate", "trl", "llama-factory"]
Schedule: TypeAlias = Literal["cosine", "linear", "constant"]
Tracker: TypeAlias = Literal["none", "tensorboard", "wandb", "trackio"]

C = TypeVar("C", bound=Command)
F = TypeVar("F", bound=Callable[..., Any])


def takes(cls: type[Command]) -> Callable[[F], F]:
    """Give a method the documentation of a command's options, and their other names.

    The method says every option of the command as a parameter; a test compares the two. Where a
    flag is spelt differently (``set`` for ``settings``), both are keywords. A word that is neither
    is an error that names the nearest one, unless the method has a parameter for further keywords.
    """

    def document(method: F) -> F:
        known = by_word(cls, "python")
        signature = inspect.signature(method)
        further = any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()
        )

        @wraps(method)
        def call(self: Any, *given: Any, **keywords: Any) -> Any:
            values: dict[str, Any] = {}
            for word, value in keywords.items():
                if word in known and known[word].name in signature.parameters:
                    put(values, known[word], value, word)
                elif word in signature.parameters or further:
                    values[word] = value
                else:
                    raise unknown_option(cls, word)
            bound = signature.bind_partial(self, *given, **values).arguments
            for opt in options_of(cls):
                if opt.required and opt.name in signature.parameters and opt.name not in bound:
                    raise ConfigError(f"{opt.name} is missing; add it")
            return method(self, *given, **values)

        shown = [opt for opt in options_of(cls) if "python" in opt.declared.places]
        lines = [f"{opt.name}\n    {opt.declared.help}" for opt in shown]
        about = inspect.cleandoc(method.__doc__ or "")
        call.__doc__ = "\n".join([about, "", "Parameters", "----------", *lines])
        return typing.cast(F, call)

    return document


def made(cls: type[C], given: Mapping[str, Any]) -> C:
    """Make a command from the parameters of a method, as ``locals()`` has them.

    A stored selection may stand for its id.
    """
    options = {opt.name: opt for opt in options_of(cls)}
    values = {name: value for name, value in given.items() if name != "self"}
    for name, value in values.items():
        if name in options and options[name].declared.takes == "selection":
            values[name] = _selections(value)
    return from_keywords(cls, values)


def made_select(given: Mapping[str, Any]) -> SelectCommand:
    """Make a selection's command: a method as an object, and its settings as further keywords.

    Raises `ConfigError` for a keyword that is both an option and a setting, and for one that is
    neither.
    """
    values = dict(given)
    settings: dict[str, Any] = dict(values.pop("fields"))
    method = values["method"]
    if method is not None and not isinstance(method, str):
        if settings or values["settings"] is not None:
            words = ", ".join(
                [*settings, *(["settings"] if values["settings"] is not None else [])]
            )
            raise ConfigError(
                f"{words}: the method is given as an object, which has its settings already; set them "
                "where it is made"
            )
        values["method"], values["settings"] = named(method)
    else:
        values["settings"] = _joined(values, settings)
    for name in ("include", "exclude"):
        values[name] = ids_given(values[name])
    return made(SelectCommand, values)


def _joined(values: Mapping[str, Any], keywords: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the settings of a method from ``settings`` and from the keywords that are its fields."""
    method = method_or_default(values["method"], values["rank"])
    method = "pipeline" if "|" in method else method
    settings = values["settings"]
    options = {opt.name: opt for opt in options_of(SelectCommand)}
    known = [entry.name for entry in fields(typing.cast(Any, get_method(method))) if entry.init]
    for word in keywords:
        if word not in known:
            near = did_you_mean(word, [*known, *options])
            raise ConfigError(
                f"{word!r} is neither an option of select nor a setting of {method}{near}; "
                f"settings of {method}: {', '.join(known) or 'none'}; options of select: {', '.join(options)}"
            )
    if settings is None:
        _refuse_both(method, values, options, known)
        return keywords or None
    twice = sorted(set(keywords) & set(settings))
    if twice:
        raise ConfigError(f"{twice[0]} is given twice, in settings too; give it once")
    return {**settings, **keywords}


def _refuse_both(
    method: str, values: Mapping[str, Any], options: Mapping[str, Option], known: Sequence[str]
) -> None:
    """Raise `ConfigError` for a keyword that is an option of select and a setting of the method.

    ``rank`` is not one: as an option it is the setting.
    """
    for name in known:
        if name not in options or name == "rank":
            continue
        value = values.get(name)
        if value is not None and value != options[name].default:
            raise ConfigError(
                f"{name!r} is both an option of select and a setting of {method}; for the setting write "
                f"settings={{{name!r}: {value!r}}}, for the option add settings={{}} beside it"
            )


def _selections(value: Any) -> Any:
    return [*map(id_of, value)] if isinstance(value, list | tuple) else id_of(value)
