"""Hyperparameters from text: `--set name.field=value` and recipe keys, read by field type."""

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union

from curate.contracts.describe import describe_fields, is_required, type_text
from curate.errors import ConfigError, did_you_mean

T = TypeVar("T")

_TRUTHS: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_NOTHING: Final = ("none", "null", "")


class MismatchError(ValueError):
    """A value does not fit the type of its field; the message goes after the value."""


def build(cls: type[T], settings: Mapping[str, Any], flag: str | None = None) -> T:
    """Make a frozen dataclass of hyperparameters from settings that may still be text.

    Text is read by the type of its field: ``true``, ``3``, ``1e-5``, one of the choices, ``none``,
    or ``a,b`` (also ``["a", "b"]``) for a tuple. Values of the right type are kept. ``flag`` is
    what stands before the field in ``--set``, where that is not the name of the class.

    Raises `ConfigError` for an unknown field, with the nearest spelling and all fields with their
    defaults, for a value that does not fit, and for a required field that is missing.
    """
    owner = str(getattr(cls, "name", cls.__name__))
    flag = flag or owner
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in fields(typing.cast(Any, cls)) if item.init}
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(_unknown(owner, name, cls))
        try:
            values[name] = _coerce(hints[name], value)
        except MismatchError as mismatch:
            raise ConfigError(
                f"{owner}.{name}={value!r} {mismatch}; pass --set {flag}.{name}=VALUE"
            ) from None
    missing = [name for name, item in known.items() if is_required(item) and name not in values]
    if missing:
        raise ConfigError(
            f"{owner} needs a value for {', '.join(missing)}; "
            f"pass {' '.join(f'--set {flag}.{name}=VALUE' for name in missing)}"
        )
    return cls(**values)


def read_value(cls: type, name: str, value: Any, flag: str) -> Any:
    """Read the value of one field, which may still be text, by the field's type.

    Raises `ConfigError` that names ``flag`` for a value that does not fit.
    """
    try:
        return _coerce(typing.get_type_hints(cls)[name], value)
    except MismatchError as mismatch:
        raise ConfigError(f"{flag}={value!r} {mismatch}; pass {flag}=VALUE") from None


def read_as(hint: Any, value: Any) -> Any:
    """Read a value, which may still be text, as a type.

    Raises `MismatchError`, whose message says what is wrong and goes after the value.
    """
    return _coerce(hint, value)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a stored configuration back into settings: JSON lists were tuples."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}


def _unknown(owner: str, name: str, cls: type) -> str:
    described = describe_fields(cls)
    hint = did_you_mean(name, [item.name for item in described])
    listing = ", ".join(
        f"{item.name} (required)" if item.required else f"{item.name}={spell_value(item.default)}"
        for item in described
    )
    return f"{owner} has no field {name!r}{hint}; its fields are: {listing or 'none'}"


def spell_value(value: Any) -> str:
    """Write a field's value the way `build` reads it: ``true``, ``none``, ``a,b``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(spell_value(item) for item in value)
    return value if isinstance(value, str) else repr(value)


def _coerce(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        return _choice(arguments, value)
    if origin in (Union, types.UnionType):
        return _union(arguments, value)
    if hint is tuple or origin is tuple:
        return _tuple(arguments or (Any, ...), value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(value)
    if hint in _READERS:
        return _READERS[hint](value)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise MismatchError(f"cannot be read as {type_text(hint)}, which has no written form")


def _bool(value: Any) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | str | int) or text not in _TRUTHS:
        raise MismatchError("is neither true nor false")
    return _TRUTHS[text]


def _int(value: Any) -> int:
    number = _float(value, "a whole number")
    if not number.is_integer():
        raise MismatchError("is not a whole number")
    return value if isinstance(value, int) else _whole(value, number)


def _whole(value: Any, number: float) -> int:
    try:
        return int(value) if isinstance(value, str) else int(number)
    except ValueError:
        return int(number)  # 1e6 is a whole number that int() does not read


def _float(value: Any, expected: str = "a number") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MismatchError(f"is not {expected}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise MismatchError(f"is not {expected}") from None
    if math.isnan(number):
        raise MismatchError(f"is not {expected}")
    return number


def _str(value: Any) -> str:
    if not isinstance(value, str | Path):
        raise MismatchError("is not text")
    return str(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise MismatchError("is not a path")
    return Path(value)


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    pairs = [value] if isinstance(value, str) else value
    if not isinstance(pairs, list | tuple):
        raise MismatchError("is not a mapping of names to values")
    read = {}
    for pair in pairs:
        key, separator, inner = str(pair).partition("=")
        if not separator or not key.strip():
            raise MismatchError(f"takes KEY=VALUE, got {pair!r}")
        read[key.strip()] = inner
    return read


def _none(value: Any) -> None:
    if value is not None and str(value).strip().lower() not in _NOTHING:
        raise MismatchError("is not none")


_READERS: Final[Mapping[Any, Any]] = {
    bool: _bool, int: _int, float: _float, str: _str, Path: _path, type(None): _none,
}  # fmt: skip


def _choice(choices: tuple[Any, ...], value: Any) -> Any:
    for choice in choices:
        if value == choice or (isinstance(value, str) and value.strip() == str(choice)):
            return choice
    spelt = [str(choice) for choice in choices]
    hint = did_you_mean(str(value), spelt)
    raise MismatchError(f"is not one of {', '.join(spelt)}{hint}")


def _union(members: tuple[Any, ...], value: Any) -> Any:
    ordered = sorted(members, key=lambda member: (member is not type(None), member is str))
    for member in ordered:
        try:
            return _coerce(member, value)
        except MismatchError:
            continue
    raise MismatchError(f"is not {' or '.join(type_text(member) for member in members)}")


def _tuple(arguments: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    items = _items(value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_coerce(arguments[0], item) for item in items)
    if len(items) != len(arguments):
        raise MismatchError(
            f"has {len(items)} values but needs {len(arguments)}, separated by commas"
        )
    return tuple(_coerce(hint, item) for hint, item in zip(arguments, items, strict=True))


def _items(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return list(value)
    if not isinstance(value, str):
        raise MismatchError("is not a list of values separated by commas")
    text = value.strip()
    if text.startswith("["):
        try:
            return list(json.loads(text))
        except json.JSONDecodeError:
            raise MismatchError("starts like a JSON list but is not one") from None
    return [item.strip() for item in text.split(",")] if text else []


def refuse_unused(
    settings: Mapping[str, Any], owners: Sequence[str], *, must_name: bool = False
) -> None:
    """Raise `ConfigError` for a setting of something that is not used, or that names no owner.

    Parameters
    ----------
    settings
        Values by ``OWNER.field``, or ``field``.
    owners
        What settings may belong to here.
    must_name
        Whether a setting has to name its owner, because it could be for several.
    """
    for key in settings:
        owner, dot, _ = key.partition(".")
        if dot and owner not in owners:
            raise ConfigError(
                f"--set {key}: nothing here uses {owner!r}{did_you_mean(owner, owners)}; "
                f"fields here belong to: {', '.join(owners)}"
            )
        if not dot and must_name:
            raise ConfigError(
                f"--set {key}: say which one it belongs to; write OWNER.{key}=VALUE with one of: "
                f"{', '.join(owners)}"
            )
