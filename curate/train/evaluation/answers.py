"""Answer extractors, by name: what counts as the answer in a response or reference."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from curate.errors import ConfigError, did_you_mean

Extractor = Callable[[str], str | None]

_NUMBER: Final = re.compile(r"[-+]?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


def last_number(text: str) -> str | None:
    r"""Return the last number of a text in its shortest form; what follows ``####`` wins.

    Thousands separators, currency signs and trailing zeros are ignored. None without a number.

    Examples
    --------
    >>> last_number("3 + 15 = 18, so\n#### 18"), last_number("A: $1,234.50"), last_number("none")
    ('18', '1234.5', None)
    """
    marked = text.rpartition("####")[2] if "####" in text else text
    numbers = _NUMBER.findall(marked) or _NUMBER.findall(text)
    if not numbers:
        return None
    try:
        value = Decimal(numbers[-1].replace(",", "").replace("$", ""))
    except InvalidOperation:
        return None
    return format(value.normalize() + 0, "f")


def exact(text: str) -> str | None:
    """Return the whole text, stripped; None if nothing is left."""
    return text.strip() or None


def first_line(text: str) -> str | None:
    """Return the first non-blank line, stripped."""
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


EXTRACTORS: Final[Mapping[str, Extractor]] = {
    "last-number": last_number,
    "exact": exact,
    "first-line": first_line,
}


def extractor(name: str) -> Extractor:
    """Return an extractor by name; raise `ConfigError` with the known names for any other."""
    if name in EXTRACTORS:
        return EXTRACTORS[name]
    hint = did_you_mean(name, EXTRACTORS)
    raise ConfigError(f"no answer extractor {name!r}{hint}; choose one of: {', '.join(EXTRACTORS)}")


def is_match(extract: Extractor, generated: str, reference: str) -> bool:
    """Return whether both texts have an answer and it is the same."""
    answer = extract(generated)
    return answer is not None and answer == extract(reference)
