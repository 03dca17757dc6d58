"""Plain JSON values out of nested Python ones."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any


def json_tree(value: Any, leaf: Callable[[Any], Any] = lambda value: value) -> Any:
    """Return a value with its mappings as dicts with text keys, and its sequences as lists.

    Parameters
    ----------
    value
        Mappings, lists and tuples, nested as deep as they are, around anything else.
    leaf
        What becomes of that anything else; it stays as it is by default.

    Examples
    --------
    >>> json_tree({1: (0.5, float("nan"))}, finite_or_none)
    {'1': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): json_tree(inner, leaf) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_tree(inner, leaf) for inner in value]
    return leaf(value)


def finite_or_none(value: Any) -> Any:
    """Return a value, or None in place of a float that JSON lacks: NaN and the infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> bytes:
    """Return a value as JSON in UTF-8; NaN and infinities, which JSON lacks, become null.

    Half of a surrogate pair is escaped. Raises TypeError for what JSON cannot hold.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_scalar)
    except ValueError:
        text = json.dumps(json_tree(value, finite_or_none), ensure_ascii=False, default=_scalar)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(json_tree(value, finite_or_none), default=_scalar).encode()


def _scalar(value: object) -> object:
    """Return what stands in JSON for a moment, a decimal number, or an array of numbers."""
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if callable(plain := getattr(value, "tolist", None)):
        return json_tree(plain(), finite_or_none)
    raise TypeError(f"it holds {type(value).__name__}")
