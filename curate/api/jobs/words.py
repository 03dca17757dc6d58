"""Turns keyword arguments into the words one would type on the command line."""

from collections.abc import Iterator, Mapping
from typing import Any

from curate.errors import ConfigError, did_you_mean


def command_words(command: str, options: Mapping[str, Any]) -> list[str]:
    """Return a command with its arguments and flags.

    Keywords are the names of options with ``_`` for ``-`` (``batch_tokens``, ``scorer``), or of
    arguments (``data``). A list repeats an option, or becomes one comma-separated word where the
    option is not repeatable; a mapping becomes ``KEY=VALUE``, True a flag, False and None nothing.

    Raises
    ------
    ConfigError
        There is no such command or option, or a required one is missing.

    Examples
    --------
    >>> command_words("score", {"scorer": ["likelihood", "ifd"], "model": "m", "as_json": True})
    ['score', '--scorer', 'likelihood,ifd', '--model', 'm', '--json']
    """
    import typer

    from curate.cli.app import COMMANDS, app

    group: Any = typer.main.get_command(app)
    usable = [name for name in COMMANDS if "store" in {p.name for p in group.commands[name].params}]
    if command not in usable:
        what = "does not work on a store" if command in COMMANDS else "is not a command"
        raise ConfigError(f"{command!r} {what}; choose one of: {', '.join(usable)}")
    known = {name: one for one in group.commands[command].params for name in _names_of(one)}
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; see curate {command} --help"
            raise ConfigError(f"curate {command} has no option {name!r}{hint}")
    given = {known[name].name for name in options}
    for one in group.commands[command].params:
        if one.required and one.name not in given:
            name = _names_of(one)[-1]
            raise ConfigError(f"curate {command} needs {name!r}; add {name}=VALUE")
    positional: list[str] = []
    flags: list[str] = []
    for name, value in options.items():
        one = known[name]
        if one.param_type_name == "argument":
            positional += list(_texts(value))
        else:
            flags += _flag_words(one, value)
    return [command, *positional, *flags]


def _names_of(one: Any) -> list[str]:
    """Return what a parameter may be called: its name in Python, and its long flags."""
    flags = [flag[2:].replace("-", "_") for flag in one.opts if flag.startswith("--")]
    return list(dict.fromkeys([one.name, *flags]))


def _flag_words(one: Any, value: Any) -> Iterator[str]:
    flag = next(f for f in one.opts if f.startswith("--"))
    if value is None or value is False:
        return
    if value is True:
        yield flag
        return
    texts = list(_texts(value))
    for text in texts if one.multiple else [",".join(texts)]:
        yield from (flag, text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (f"{key}={one}" for key, one in value.items())
    elif isinstance(value, list | tuple):
        yield from map(str, value)
    else:
        yield str(value)
