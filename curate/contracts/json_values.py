"""Plain JSON values out of nested Python ones."""

import math
from collections.abc import Callable, Mapping
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
