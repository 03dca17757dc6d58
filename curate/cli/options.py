"""Commands made from their declared options: the class says what there is, the function what to do."""

import inspect
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import typer

from curate.api.commands.groups import Shell, flags_of
from curate.api.commands.option import Command, Option, options_of, settle
from curate.cli.completion import completion_of
from curate.errors import ConfigError

C = TypeVar("C", bound=Command)

LONGEST_CHOICES: Final = (
    12  # characters; longer ones are broken at a width of 80, and are said in the text
)
_VALUE_WORDS: Final[Mapping[Any, str]] = {
    bool: "", int: "N", float: "NUMBER", str: "TEXT", Path: "PATH",
}  # fmt: skip


def from_options(cls: type[C]) -> Callable[[Callable[[C, Shell], None]], Callable[..., None]]:
    """Make a function that takes a command's options the one that typer calls with its flags."""

    def decorate(work: Callable[[C, Shell], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            shell = _settled(Shell, given)
            configure_logging(shell.verbose)
            work(_settled(cls, given), shell)

        signature = inspect.Signature([_parameter(option, cls.command) for option in flags_of(cls)])
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


@contextmanager
def store_to_use(shell: Shell, *, create: bool, dry_run: bool) -> Iterator[Path]:
    """Yield the path of the store; where a plan would create it, one that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        aside = dry_run and create and not shell.store.exists()
        yield Path(folder) / shell.store.name if aside else shell.store


def configure_logging(verbose: bool) -> None:
    """Send the library's log to stderr when asked for, and otherwise only its warnings."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("curate").setLevel(logging.DEBUG if verbose else logging.WARNING)


def _settled(cls: type[C], given: dict[str, Any]) -> C:
    """Make a command from what typer parsed."""
    values = {}
    for option in options_of(cls):
        value = given.get(option.name)
        if option.is_mapping and option.declared.read is None:
            value = pairs(value, option.flag)
        if value is not None:
            values[option.name] = value
    return settle(cls, values, lambda option: option.flag)


def _parameter(option: Option, command: str) -> inspect.Parameter:
    """Return an option as a parameter of the function that typer reads."""
    several = option.is_mapping or (option.is_list and not option.declared.commas)
    kind: Any = option.hint
    if several:
        kind = list[str]
    elif option.is_list or option.declared.read is not None:
        kind = str
    default: Any = inspect.Parameter.empty
    if not option.required:
        default = None if option.is_mapping or option.is_list else option.default
        kind = kind if default is not None else kind | None
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, _described(option, command)],
    )


def _described(option: Option, command: str) -> Any:
    declared = option.declared
    completed = completion_of(command, option.name)
    stands_for = declared.metavar or _value_word(option.hint)
    if declared.argument:
        return typer.Argument(
            help=declared.help, metavar=declared.metavar or None, autocompletion=completed
        )
    flags = [option.flag + (f"/{option.negative}" if option.negative else "")]
    return typer.Option(
        *flags,
        *([declared.short] if declared.short else []),
        help=declared.help,
        metavar=stands_for,
        envvar=declared.env or None,
        rich_help_panel=declared.group or None,
        autocompletion=completed,
    )


def _value_word(hint: Any) -> str:
    """Return what stands for a value of this type in help; the choices, where they are short.

    Examples
    --------
    >>> _value_word(int | None), _value_word(tuple[str, ...]), _value_word(Literal["rank", "input"])
    ('N', 'TEXT', 'rank|input')
    """
    members = [member for member in get_args(hint) if member not in (NoneType, ...)]
    if get_origin(hint) is Literal:
        choices = "|".join(members)
        return choices if len(choices) <= LONGEST_CHOICES else "CHOICE"
    if members:
        return _value_word(members[0])
    return _VALUE_WORDS.get(hint, "TEXT")
