"""Shared by the contract checks: their error, the promises of a config, and its variants."""

import pickle
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast

from curate.contracts.describe import is_required, kind_of
from curate.registry import build

T = TypeVar("T")


class ContractError(AssertionError):
    """A registered class broke a promise of its contract."""


def require(holds: bool, message: str) -> None:
    """Raise `ContractError` with the message unless the promise holds."""
    if not holds:
        raise ContractError(message)


def variants(cls: type[T]) -> Iterator[T]:
    """Yield instances that differ in one choice from the defaults, which come first.

    One for each other ``Literal`` choice, each flipped bool, and 2 for each optional whole number.
    Fields without a default get a value of their type (``quality`` for text, 2 for numbers, the
    first choice), so that every registered class can be checked without a list of examples.
    """
    hints = typing.get_type_hints(cls)
    required = {
        item.name: _any_value(hints[item.name])
        for item in fields(cast(Any, cls))
        if item.init and is_required(item)
    }
    default = build(cls, required)
    yield default
    for item in fields(cast(Any, cls)):
        if not item.init:
            continue
        for choice in _choices(hints[item.name]):
            if choice != getattr(default, item.name):
                yield replace(cast(Any, default), **{item.name: choice})


def check_config(config: object) -> None:
    """Check what every kind promises of its configuration: frozen, hashable, pickles, has a doc."""
    cls = type(config)
    kind_of(cls)
    label = name_of(config)
    require(
        is_dataclass(cls) and bool(cast(Any, cls).__dataclass_params__.frozen),
        f"{label} is not a frozen dataclass",
    )
    require(bool((cls.__doc__ or "").strip()), f"{label} has no docstring")
    try:
        code = hash(config)
    except TypeError as error:
        raise ContractError(
            f"{label} is not hashable ({error}); use tuples in its fields"
        ) from None
    copy = pickle.loads(pickle.dumps(config))
    require(copy == config, f"{label} is not equal to its own pickled copy")
    require(hash(copy) == code, f"{label} and its pickled copy have different hashes")


def name_of(config: object) -> str:
    """Return how messages call an instance: its registered name and its fields."""
    settings = ", ".join(
        f"{item.name}={getattr(config, item.name)!r}" for item in fields(cast(Any, config))
    )
    return f"{getattr(type(config), 'name', type(config).__name__)}({settings})"


def _choices(hint: Any) -> tuple[Any, ...]:
    if hint is bool:
        return (False, True)
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return (2,) if set(typing.get_args(hint)) == {int, type(None)} else ()


def _any_value(hint: Any) -> Any:
    known = {bool: False, int: 2, float: 0.5, str: "quality"}
    if hint in known:
        return known[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return arguments[0]
    if type(None) in arguments:
        return None
    return (_any_value(arguments[0]),) if typing.get_origin(hint) is tuple else None
