"""Turns keyword arguments into the words one would type on the command line."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from curate.api.commands.catalogue import COMMANDS
from curate.api.commands.groups import flags_of
from curate.api.commands.option import Option
from curate.errors import ConfigError, did_you_mean

_SECRET_URL: Final = re.compile(r"(?:[\w.]+=)?[A-Za-z][A-Za-z0-9+.-]*:/*(?:[^/\s]*@|\S*\?)")


def refuse_secrets(options: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for an address with a login or a query, which would be kept with a job."""
    for name, value in options.items():
        if value is not None and any(map(_SECRET_URL.match, _texts(value))):
            raise ConfigError(
                f"{name} holds an address with a user name, a password or a query, which would be kept in "
                "the job's record; give the bare address, and credentials by the environment"
            )


def command_words(command: str, options: Mapping[str, Any]) -> list[str]:
    """Return a command with its arguments and flags.

    Keywords are the names of options in Python or of their flags with ``_`` for ``-``
    (``batch_tokens``, ``scorer``), or of arguments (``data``). A list repeats an option, or becomes
    one comma-separated word where the option is not repeatable; a mapping becomes ``KEY=VALUE``,
    True a flag, False and None nothing.

    Raises
    ------
    ConfigError
        There is no such command or option, or a required one is missing.

    Examples
    --------
    >>> command_words("score", {"scorer": ["likelihood", "ifd"], "model": "m", "as_json": True})
    ['score', '--scorer', 'likelihood,ifd', '--model', 'm', '--json']
    """
    on_a_store = [
        name
        for name, cls in COMMANDS.items()
        if "store" in {option.name for option in flags_of(cls)}
    ]
    if command not in on_a_store:
        what = "does not work on a store" if command in COMMANDS else "is not a command"
        raise ConfigError(f"{command!r} {what}; choose one of: {', '.join(on_a_store)}")
    flags = flags_of(COMMANDS[command])
    known = {word: option for option in flags for word in option.words}
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; see curate {command} --help"
            raise ConfigError(f"curate {command} has no option {name!r}{hint}")
    given = {known[name].name for name in options}
    for option in flags:
        if option.required and option.name not in given:
            raise ConfigError(f"curate {command} needs {option.key!r}; add {option.key}=VALUE")
    positional: list[str] = []
    words: list[str] = []
    for name, value in options.items():
        if known[name].declared.argument:
            positional += _texts(value)
        else:
            words += _flag_words(known[name], value)
    return [command, *positional, *words]


def _flag_words(option: Option, value: Any) -> Iterator[str]:
    if value is False and option.negative:
        yield option.negative
    if value is None or value is False:
        return
    if value is True:
        yield option.flag
        return
    repeated = option.is_mapping or (option.is_list and not option.declared.commas)
    texts = list(_texts(value))
    for text in texts if repeated else [",".join(texts)]:
        yield from (option.flag, text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (_pair(key, inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from map(str, value)
    else:
        yield str(value)


def _pair(key: str, value: Any) -> str:
    """Return ``KEY=VALUE``; of an arm, which has settings of its own, ``NAME:KEY=VALUE,KEY=VALUE``."""
    if isinstance(value, Mapping):
        return f"{key}:" + ",".join(_pair(name, inner) for name, inner in value.items())
    return f"{key}={value}"
