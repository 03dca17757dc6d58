"""Lists and objects that a text holds: in JSON or, as CSV files of pandas have them, in Python's notation."""

import ast
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

# Characters that are read in Python's notation, at 250 bytes of memory for each.
_LONGEST: Final = 2 << 20
_OBJECTS: Final = re.compile(r"\s*\[\s*\{")
# A whole string, or the place between two objects where the print of a numpy array has no comma.
_NO_COMMA: Final = re.compile(
    r"""('(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z))|\}\s+(?=\{)""", re.DOTALL
)
_SPEAKERS: Final = frozenset(("role", "from"))
_SAYS: Final = frozenset(("content", "value", "tool_calls"))


def value_in(text: str) -> Any:
    """Return what a text holds: JSON, or a list or an object in Python's notation.

    Objects of a list may stand side by side without commas, as numpy prints them. Raises ValueError
    for any other text, and for more than two million characters that are not JSON.

    Examples
    --------
    >>> value_in("[{'a': None} {'b': '} {'}]")
    [{'a': None}, {'b': '} {'}]
    """
    try:
        return json.loads(text)
    except ValueError:
        bare = text.strip()
        if bare[:1] not in ("[", "{") or len(bare) > _LONGEST:
            raise
    for written in (bare, _NO_COMMA.sub(lambda found: found[1] or "},", bare)):
        try:
            with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
                value = ast.literal_eval(written)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(value, list | dict):
            return value
    raise ValueError("neither JSON nor Python's notation")


def value_of(held: object) -> Any:
    """Return what a text says, as `value_in` reads it, and anything else as it is."""
    try:
        return value_in(held) if isinstance(held, str) else held
    except ValueError:
        return held


def object_of(text: object) -> Any:
    """Return what a JSON text says, and anything else as it is."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def listed_in(text: str) -> list[Any] | None:
    """Return the responses that the text of a list holds, None for any other text.

    A list of anything but texts, turns and lists of them is no list of responses, but an answer.

    Examples
    --------
    >>> listed_in('["yes", "no"]'), listed_in("[1, 2]"), listed_in("[sic]")
    (['yes', 'no'], None, None)
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        value = value_in(text)
    except (ValueError, RecursionError):
        return None
    return value if value and all(isinstance(item, str | list | dict) for item in value) else None


def turns_in(value: Any) -> Any:
    """Return the turns that a text holds, None for any other text and for what is no text.

    Examples
    --------
    >>> turns_in('[{"role": "user", "content": "a"}]'), turns_in('[{"name": "a"}]'), turns_in("a")
    ([{'role': 'user', 'content': 'a'}], None, None)
    """
    if not isinstance(value, str) or not _OBJECTS.match(value):
        return None
    try:
        listed = value_in(value)
    except (ValueError, RecursionError):
        return None
    return listed if isinstance(listed, list) and all(map(_is_turn, listed)) else None


def _is_turn(item: Any) -> bool:
    return (
        isinstance(item, Mapping) and not _SPEAKERS.isdisjoint(item) and not _SAYS.isdisjoint(item)
    )
