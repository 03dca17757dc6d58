"""How a result is shown: as HTML in a notebook, as text that a terminal only prints."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

_CARDS: Final[dict[type, Callable[[Any], str]]] = {}


# Control characters, which move the cursor, rename the window or answer for the user; marks that
# reverse the direction of a line; and halves of surrogate pairs, which cannot be printed at all.
_COMMANDS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text in which nothing commands a terminal: such characters as ``\u001b``.

    Line breaks and tabs stay. Inside a JSON document the result means the same.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\u001b[2Jb'
    """
    return _COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "example"), counted(2000, "example"), counted(2, "pass", "passes")
    ('1 example', '2,000 examples', '2 passes')
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """Write names as a list in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def show_as(cls: type[T]) -> Callable[[Callable[[T], str]], Callable[[T], str]]:
    """Register the function that draws a class as HTML; use it as a decorator."""

    def register(draw: Callable[[T], str]) -> Callable[[T], str]:
        _CARDS[cls] = draw
        return draw

    return register


def card(result: object) -> str | None:
    """Return a result as HTML, or None where no view of its class is loaded."""
    draw = _CARDS.get(type(result))
    return None if draw is None else draw(result)
