"""Commands made from their declared options: the class says what there is, the function what to do."""

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import typer

from curate.api.commands.catalogue import flags_of
from curate.api.commands.groups import Shell
from curate.api.commands.option import Command, Option, options_of, settle
from curate.errors import ConfigError

C = TypeVar("C", bound=Command)


def from_options(cls: type[C]) -> Callable[[Callable[[C, Shell], None]], Callable[..., None]]:
    """Make a function that takes a command's options the one that typer calls with its flags."""

    def decorate(work: Callable[[C, Shell], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            shell = _settled(Shell, given)
            configure_logging(shell.verbose)
            work(_settled(cls, given), shell)

        signature = inspect.Signature([_parameter(one) for one in flags_of(cls)])
        made: Any = command
        made.__signature__ = signature
        made.__annotations__ = {}
        made.__doc__ = cls.__doc__
        made.__module__ = work.__module__
        return command

    return decorate


def pairs(items: Iterable[str] | None, flag: str) -> dict[str, str]:
    """Read repeated KEY=VALUE options; raise `ConfigError` for one without ``=``."""
    result: dict[str, str] = {}
    for item in items or ():
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{flag} takes KEY=VALUE, got {item!r}; type {flag} key=value")
        result[key.strip()] = value
    return result


def configure_logging(verbose: bool) -> None:
    """Send the library's log to stderr when asked for, and otherwise only its warnings."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("curate").setLevel(logging.DEBUG if verbose else logging.WARNING)


def _settled(cls: type[C], given: dict[str, Any]) -> C:
    """Make a command from what typer parsed."""
    values = {}
    for one in options_of(cls):
        value = given.get(one.name)
        if one.is_mapping and one.declared.read is None:
            value = pairs(value, one.flag)
        if value is not None:
            values[one.name] = value
    return settle(cls, values, lambda one: one.flag)


def _parameter(one: Option) -> inspect.Parameter:
    """Return an option as a parameter of the function that typer reads."""
    several = one.is_mapping or (one.is_list and not one.declared.commas)
    kind: Any = one.hint
    if several:
        kind = list[str]
    elif one.is_list or one.declared.read is not None:
        kind = str
    default: Any = inspect.Parameter.empty
    if not one.required:
        default = None if one.is_mapping or one.is_list else one.default
        kind = kind if default is not None else kind | None
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, _described(one)],
    )


def _described(one: Option) -> Any:
    declared = one.declared
    if declared.argument:
        return typer.Argument(help=declared.help, metavar=declared.metavar or None)
    flags = [one.flag + (f"/{one.negative}" if one.negative else "")]
    return typer.Option(
        *flags,
        *([declared.short] if declared.short else []),
        help=declared.help,
        metavar=declared.metavar or None,
        envvar=declared.env or None,
        rich_help_panel=declared.group or None,
    )
