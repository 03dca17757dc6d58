"""How a notebook shows a result, registered by the views so that what makes it need not know them."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_CARDS: Final[dict[type, Callable[[Any], str]]] = {}


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
