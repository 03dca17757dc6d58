"""One option of a command, declared once: its flag, its recipe key and its keyword in Python."""

import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar, final

from curate.contracts.settings import MismatchError, read_as
from curate.errors import ConfigError, did_you_mean

Place: TypeAlias = Literal["flag", "recipe", "python"]
Product: TypeAlias = Literal["selection", "model"]

EVERYWHERE: Final[tuple[Place, ...]] = ("flag", "recipe", "python")
_KEY: Final = "option"
MAX_SEED: Final = 2**63 - 1  # the store keeps 64 bits with a sign
MAX_NAME: Final = 255  # bytes of one name in a path
MAX_PATH: Final = 4095


class Command(Protocol):
    """A frozen dataclass whose fields are declared by `option`; ``command`` is what users type."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    command: ClassVar[str]


C = TypeVar("C", bound=Command)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a field says about itself besides its name, type and default.

    Parameters
    ----------
    help
        One or two sentences for people.
    flag
        Its long flag, and after a slash the flag for false; by default the field's name.
    short
        Its one-letter flag, or "".
    metavar
        What stands for its value in help; by default its type.
    group
        Heading it stands under in help, or "".
    argument
        Whether it is typed without a flag.
    commas
        Whether several values are one word with commas; otherwise the flag is repeated.
    read
        Reads a value that its type alone does not explain, or None.
    also
        Further keywords and recipe keys it answers to.
    places
        Where it applies.
    takes
        What ``from: STEP`` of a recipe puts here.
    setting
        The setting of a training run it stands for, by dotted name, or "".
    env
        Environment variable that sets it, or "".
    """

    help: str
    flag: str = ""
    short: str = ""
    metavar: str = ""
    group: str = ""
    argument: bool = False
    commas: bool = False
    read: Callable[[Any], Any] | None = None
    also: tuple[str, ...] = ()
    places: tuple[Place, ...] = EVERYWHERE
    takes: Product | None = None
    setting: str = ""
    env: str = ""


def option(default: Any, help: str, **declared: Any) -> Any:
    """Return a dataclass field with what `Declaration` says about it; ``...``: a value is needed."""
    metadata = {_KEY: Declaration(help=help, **declared)}
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@final
@dataclass(frozen=True, slots=True)
class Option:
    """A declared field of a command.

    Parameters
    ----------
    name
        Its keyword in Python.
    hint
        Its type.
    default
        Its default; None where a value is needed.
    required
        Whether a value is needed.
    declared
        What the field says about itself.
    """

    name: str
    hint: Any
    default: Any
    required: bool
    declared: Declaration

    @property
    def flag(self) -> str:
        """Its long flag; the name of an argument."""
        if self.declared.argument:
            return self.name
        return self.declared.flag.partition("/")[0] or f"--{self.name.replace('_', '-')}"

    @property
    def negative(self) -> str:
        """The flag for false, or ""."""
        return self.declared.flag.partition("/")[2]

    @property
    def key(self) -> str:
        """Its key in a recipe: the flag with ``_`` for ``-``."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def words(self) -> tuple[str, ...]:
        """Everything it may be called in Python and in a recipe."""
        return tuple(dict.fromkeys((self.name, self.key, *self.declared.also)))

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return typing.get_origin(self.hint) is tuple

    @property
    def is_mapping(self) -> bool:
        """Whether it holds values by key."""
        origin = typing.get_origin(self.hint)
        return isinstance(origin, type) and issubclass(origin, Mapping)

    def value(self, given: Any, called: str) -> Any:
        """Read a value that may still be text; raise `ConfigError` that calls the option ``called``."""
        if given is None and not self.required:
            return self.default
        try:
            if self.declared.read is not None:
                return self.declared.read(given)
            if self.is_list and isinstance(given, str) and not self.declared.commas:
                given = (given,)
            read = read_as(_without_none(self.hint), given)
            if self.name == "seed":
                _check_seed(called, read)
            if isinstance(read, Path):
                check_path(called, read)
            return read.expanduser() if isinstance(read, Path) else read
        except MismatchError as mismatch:
            raise ConfigError(f"{called}={given!r} {mismatch}") from None


def _check_seed(called: str, seed: int) -> None:
    """Raise `ConfigError` for a seed that no generator takes or the store cannot keep."""
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(
            f"{called}={seed} is out of range; give a whole number from 0 to {MAX_SEED}"
        )


def check_path(called: str, path: Path) -> None:
    """Raise `ConfigError` for a path that no file system takes."""
    try:
        os.fsencode(path)
        is_text = "\0" not in str(path)
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise ConfigError(
            f"{called}={str(path)!r} is no path: it has a character that no name of a file can have; "
            "take it out"
        )
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > MAX_NAME or len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError(
            f"{called}={str(path)[:60] + '...'!r} is too long: a name in it has {longest:,} bytes, the "
            f"whole path {len(os.fsencode(path)):,}, and at most {MAX_NAME} and {MAX_PATH:,} are possible; "
            "give a shorter path"
        )


def _without_none(hint: Any) -> Any:
    """Return a type without None: text such as ``none`` is then a value like any other."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    members = tuple(member for member in typing.get_args(hint) if member is not type(None))
    return members[0] if len(members) == 1 else typing.Union[members]  # noqa: UP007 - built at run time


def options_of(cls: type[Command]) -> tuple[Option, ...]:
    """Return the options of a command: its own in order, then those it shares with others."""
    return _options_of(cls)


@cache
def _options_of(cls: type[Command]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(cls)
    declared = [entry for entry in fields(cls) if _KEY in entry.metadata]
    own = inspect.get_annotations(cls)
    return tuple(
        Option(
            name=entry.name,
            hint=hints[entry.name],
            default=_default(entry),
            required=entry.default is MISSING and entry.default_factory is MISSING,
            declared=entry.metadata[_KEY],
        )
        for entry in sorted(declared, key=lambda entry: entry.name not in own)
    )


def _default(entry: Any) -> Any:
    if entry.default is not MISSING:
        return entry.default
    return None if entry.default_factory is MISSING else entry.default_factory()


def by_word(cls: type[Command], place: Place) -> Mapping[str, Option]:
    """Return the options that apply in a place by everything they may be called there."""
    return {
        word: opt for opt in options_of(cls) if place in opt.declared.places for word in opt.words
    }


def settle(cls: type[C], given: Mapping[str, Any], called: Callable[[Option], str]) -> C:
    """Make a command from values by option name, each read by its type.

    ``called`` says what the user calls an option: its flag, its key or its keyword. Raises
    `ConfigError` for a value that does not fit, and for one that is missing.
    """
    values = {}
    for opt in options_of(cls):
        if opt.name in given:
            values[opt.name] = opt.value(given[opt.name], called(opt))
        elif opt.required:
            raise ConfigError(f"{called(opt)} is missing; add it")
    return cls(**values)


def unknown_option(cls: type[Command], word: str) -> ConfigError:
    """Return the error of a keyword that a command does not have."""
    names = [opt.name for opt in options_of(cls) if "python" in opt.declared.places]
    return ConfigError(
        f"{cls.command} has no option {word!r}{did_you_mean(word, names)}; "
        f"its options are: {', '.join(names)}"
    )


def from_keywords(cls: type[C], given: Mapping[str, Any]) -> C:
    """Make a command from keywords, as the methods of a pool take them.

    Raises `ConfigError` for a keyword it does not have, with the nearest spelling.
    """
    known = by_word(cls, "python")
    values: dict[str, Any] = {}
    for word, value in given.items():
        if word not in known:
            raise unknown_option(cls, word)
        put(values, known[word], value, word)
    return settle(cls, values, lambda opt: opt.name)


def put(values: dict[str, Any], opt: Option, value: Any, called: str) -> None:
    """Add a value under its option's name; mappings given under two names are joined."""
    before = values.get(opt.name)
    if before is not None and not (isinstance(before, Mapping) and isinstance(value, Mapping)):
        raise ConfigError(f"{called} is given twice, as {opt.name!r} too; give it once")
    values[opt.name] = value if before is None else {**before, **value}


def passed_on(command: Command, cls: type, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a command says about the fields of another dataclass, matched by name."""
    names = {opt.name for opt in options_of(type(command))} - set(without)
    return {
        entry.name: getattr(command, entry.name)
        for entry in fields(typing.cast(Any, cls))
        if entry.name in names
    }
