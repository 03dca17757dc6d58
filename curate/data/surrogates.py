"""Lone surrogates: halves of a character that JSON can write and no text in UTF-8 can hold."""

import re
from collections.abc import Iterable
from typing import Any, Final

WHAT: Final = "half of a surrogate pair"
REPLACEMENT: Final = "\ufffd"
_LONE: Final = re.compile(
    "[\ud800-\udfff]"
)  # Python joins the two halves of a pair when it reads JSON


def lone_surrogate(value: Any) -> str:
    r"""Return the first lone surrogate in a value of JSON, as in ``\ud800``, or "" if there is none.

    O(characters); a plain ASCII text costs nothing.

    Examples
    --------
    >>> lone_surrogate({"a": ["b", "c \ud83d"]}), lone_surrogate("\U0001f600")
    ('\\ud83d', '')
    """
    if isinstance(value, str):
        found = None if value.isascii() else _LONE.search(value)
        return "" if found is None else f"\\u{ord(found[0]):04x}"
    if isinstance(value, dict):
        return _first(value) or _first(value.values())
    return _first(value) if isinstance(value, list | tuple) else ""


def _first(values: Iterable[Any]) -> str:
    return next(filter(None, map(lone_surrogate, values)), "")


def replaced(value: Any) -> Any:
    """Return a value of JSON with U+FFFD in place of each lone surrogate."""
    if isinstance(value, str):
        return value if value.isascii() else _LONE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {replaced(key): replaced(held) for key, held in value.items()}
    return [replaced(item) for item in value] if isinstance(value, list) else value
