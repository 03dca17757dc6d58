"""A method given as an object: an instance of its class, or a function that chooses or ranks.

Either becomes a registered method of this process, so that everything else finds it by its name. A
selection by one is stored like any other; `reproduce` finds the method where its class is registered.
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, TypeVar, cast

import numpy as np

from curate.contracts import (
    Budget,
    Expression,
    Need,
    Procedure,
    Selection,
    Selector,
    View,
    keep_within,
)  # fmt: skip
from curate.errors import ConfigError, MissingColumnError
from curate.registry import names, register

_TAKES: Final = ("view", "budget", "rng")
_READS: Final = "curate_reads"

F = TypeVar("F", bound=Callable[..., Any])


def reads(*scorers: str, **expressions: str) -> Callable[[F], F]:
    """Say which scores a function that is used as a method reads.

    ``@reads("ifd", size="n_chars / 4")`` gives ``view.scores("ifd.ratio_ppl")`` and
    ``view.scores("size")``: a scorer's columns are ``scorer.column``, an expression is a column of
    its own. Scores that are not stored yet are computed first. The alias of a stored score set does
    as well as a scorer.
    """
    named = {**dict.fromkeys(scorers), **expressions}

    def declare(function: F) -> F:
        setattr(function, _READS, named)
        return function

    return declare


def named(method: Any) -> tuple[str, dict[str, Any]]:
    """Register a method given as an object; return its name and its settings.

    Raises `ConfigError` for what is no method, and for a name that another method has.
    """
    if isinstance(method, Selector | Procedure):
        cls = type(method)
        register(cls)
        return cls.name, {
            entry.name: getattr(method, entry.name)
            for entry in fields(cast(Any, method))
            if entry.init
        }
    if isinstance(method, type):
        raise ConfigError(
            f"method is the class {method.__name__}; give an instance of it: {method.__name__}()"
        )
    if not callable(method):
        raise ConfigError(
            f"method is {type(method).__name__}; give the name of a method, an instance of a Selector or "
            "Procedure, or a function of (view, budget, rng)"
        )
    return _register_function(method), {}


def _register_function(function: Callable[..., Any]) -> str:
    """Make a selector of a function and register it; return the function's name in kebab case."""
    given = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    called = getattr(function, "__name__", type(function).__name__)
    if len(given) != len(_TAKES):
        raise ConfigError(
            f"the function {called!r} takes ({', '.join(given)}); as a method it takes (view, budget, rng) and "
            "returns a Selection, or the rows of the view that it keeps, best first"
        )
    known = names("scorer")
    needs: dict[str, Need | Expression] = {
        name: Expression(text) if text is not None else Need(name if name in known else None)
        for name, text in getattr(function, _READS, {}).items()
    }

    @dataclass(frozen=True)
    class FunctionMethod(Selector):
        code: str = _hash_of(function)

        def requires(self) -> Mapping[str, Need | Expression]:
            return needs

        def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
            try:
                chosen = function(view, budget, rng)
            except MissingColumnError as error:
                raise MissingColumnError(
                    f'{error}; in a function, say what it reads: @curate.reads("SCORER")'
                ) from error
            return (
                chosen if isinstance(chosen, Selection) else _prefix(called, chosen, view, budget)
            )

    FunctionMethod.name = re.sub(r"[^a-z0-9]+", "-", called.lower()).strip("-")
    FunctionMethod.budget_optional = True
    FunctionMethod.nested = False
    FunctionMethod.__doc__ = inspect.getdoc(function) or f"The function `{called}`."
    FunctionMethod.__module__ = getattr(function, "__module__", __name__)
    FunctionMethod.__qualname__ = getattr(function, "__qualname__", called)
    register(FunctionMethod)
    return FunctionMethod.name


def _prefix(called: str, chosen: Any, view: View, budget: Budget | None) -> Selection:
    """Return the rows a function chose, up to the budget."""
    rows = np.asarray(chosen)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ConfigError(
            f"the function {called!r} returned {type(chosen).__name__} of {rows.dtype}, shape {rows.shape}; return "
            "a Selection, or the rows of the view that it keeps as one list of whole numbers, best first"
        )
    if len(rows) and (
        rows.min() < 0 or rows.max() >= len(view) or len(np.unique(rows)) < len(rows)
    ):
        raise ConfigError(
            f"the function {called!r} returned rows that are not in the view, or one twice; each is a whole number "
            f"from 0 to {len(view) - 1}"
        )
    return Selection(keep_within(rows.astype(np.int64), budget, view))


def _hash_of(function: Callable[..., Any]) -> str:
    """Return a hash of what a function computes from: its source, its defaults, and the values it uses."""
    return hashlib.blake2b(_text_of(function).encode(), digest_size=8).hexdigest()


def _text_of(function: Any) -> str:
    """Return a function's source, or its code where the source is not kept, with the values it uses.

    These are its defaults and what it takes from around it: numbers, texts, arrays and collections of
    them, and other functions by name. A partial function is its function and its arguments; another
    object is its class and its attributes.
    """
    if isinstance(function, partial):
        return f"{_text_of(function.func)} {_value(function.args)} {_value(function.keywords)}"
    if not hasattr(function, "__code__"):
        return f"{_text_of(type(function).__call__)} {_value(vars(function))}"
    code = function.__code__
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = f"{code.co_code.hex()} {code.co_consts!r}"
    around = inspect.getclosurevars(function)
    return (
        f"{text} {_value(function.__defaults__)} {_value({**around.globals, **around.nonlocals})}"
    )


def _value(value: Any) -> str:
    """Return a value as text that is the same in every process."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.blake2b(value.tobytes(), digest_size=8).hexdigest()}"
    if isinstance(value, Mapping):
        return str(sorted((str(key), _value(item)) for key, item in value.items()))
    if isinstance(value, tuple | list):
        return str([_value(item) for item in value])
    if isinstance(value, set | frozenset):
        return str(sorted(map(_value, value)))
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return repr(value)
    return str(getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__)))
