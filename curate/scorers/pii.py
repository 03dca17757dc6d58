"""Personal data and secrets in a text, by plain patterns."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Final, final

import numpy as np

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.models.classifiers.text_model import make_each
from curate.models.text.templates import Part, part_of
from curate.registry import register

_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])",
    re.ASCII,
)
_PHONE: Final = re.compile(  # no two ways to match one text, and none is tried twice: linear
    r"(?<![\w+])\+\d++(?!\w)(?:[ .-]?\(\d{1,5}\)(?![A-Za-z_])|[ .-]\d++(?!\w)|(?<=\))\d++(?!\w)){0,6}+"
    r"|(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[ .-]\d{4}(?![\w-]|\.\d)",
    re.ASCII,
)
_IPV4: Final = re.compile(
    r"(?<![\w.])(?<![Vv]ersion )\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", re.ASCII
)
_IPV6: Final = re.compile(
    r"(?<![\w:])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", re.ASCII
)
_CARD: Final = re.compile(r"(?<![\w.+-])[3-6]\d{3}(?:[ -]?\d{2,6}){2,4}(?![\w-]|\.\d)", re.ASCII)
_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_KEY: Final = re.compile(
    r"(?<!\w)(?:"
    r"sk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic and what is compatible
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # Amazon
    r"|AIza[\w-]{35}"  # Google
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|[sr]k_live_[A-Za-z0-9]{20,}"  # Stripe
    r"|eyJ[\w-]{10,400}\.eyJ[\w-]{10,}\.[\w-]{10,}"  # JSON web token
    r")(?![\w])|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    re.ASCII,
)


@register
@final
@dataclass(frozen=True)
class PII(RowScorer):
    """Personal data and secrets in a text, counted by kind: ``--where "pii.n == 0"``.

    Plain patterns, and checks where a kind has one:

    - ``email``: an address with a domain of letters at its end.
    - ``phone``: an international number that begins with ``+`` (7 to 15 digits, three of them together
      or at least four pairs, as in ``+33 6 12 34 56 78``), or a North American one with its marks, as in
      ``(555) 123-4567`` or ``555-123-4567``. Bare digits are no phone number.
    - ``ip``: an IPv4 or IPv6 address that is routed on the internet; private and documentation
      addresses are not counted, nor what follows ``v`` or ``version``. Other version numbers of
      four parts look like addresses and are counted.
    - ``credit_card``: 13 to 19 digits, blanks or dashes between them, whose Luhn checksum holds.
    - ``iban``: a bank account number whose checksum (remainder 1 by 97) holds.
    - ``key``: keys and tokens of well-known services by their prefix, JSON web tokens, private keys.
      One that begins with ``sk-`` has a digit and an upper-case letter, as names in style sheets do not.

    Names, postal addresses and dates of birth are not found: they have no pattern. Each place counts
    once per kind. No model; O(characters).

    Parameters
    ----------
    part
        ``full``: the whole conversation. ``prompt``: what comes before the last turn. ``response``:
        the last turn.

    Examples
    --------
    >>> {kind: len(list(find(kind, "Mail ann@example.org or call +44 20 7946 0958."))) for kind in KINDS}
    {'email': 1, 'phone': 1, 'ip': 0, 'credit_card': 0, 'iban': 0, 'key': 0}
    """

    name: ClassVar[str] = "pii"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "n": Column("int", "all of them together; 0 is clean"),
        "email": Column("int", "e-mail addresses"),
        "phone": Column("int", "phone numbers"),
        "ip": Column("int", "public IP addresses"),
        "credit_card": Column("int", "credit card numbers with a valid checksum"),
        "iban": Column("int", "bank account numbers with a valid checksum"),
        "key": Column("int", "keys, tokens and private keys"),
    }
    part: Part = "full"

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        def count(example: Example) -> list[int]:
            text = part_of(example, self.part)
            return [sum(1 for _ in find(kind, text)) for kind in KINDS]

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, count)
            counts = np.zeros((len(examples), len(KINDS)), dtype=int)
            if made:
                counts[places] = made
            columns = {kind: counts[:, place] for place, kind in enumerate(KINDS)}
            return {
                "n": counts.sum(axis=1), **columns, FAILURE: np.array(reasons, dtype=object)
            }  # fmt: skip

        return score


def find(kind: str, text: str) -> Iterator[str]:
    """Yield every place of one kind in a text, as it is written."""
    patterns, holds = KINDS[kind]
    for pattern in patterns:
        for match in pattern.finditer(text):
            if holds(match[0]):
                yield match[0]


def _always(text: str) -> bool:
    return True


def _is_phone(text: str) -> bool:
    groups = [len(group) for group in re.findall(r"\d+", text)]
    return 7 <= sum(groups) <= 15 and (max(groups) >= 3 or groups[1:].count(2) >= 4)


def _is_key(text: str) -> bool:
    if not text.startswith("sk-"):
        return True
    return any(map(str.isdigit, text)) and any(map(str.isupper, text))


def _is_public(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


def _is_card(text: str) -> bool:
    digits = [int(digit) for digit in text if digit.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


KINDS: Final[Mapping[str, tuple[tuple[re.Pattern[str], ...], Callable[[str], bool]]]] = {
    "email": ((_EMAIL,), _always),
    "phone": ((_PHONE,), _is_phone),
    "ip": ((_IPV4, _IPV6), _is_public),
    "credit_card": ((_CARD,), _is_card),
    "iban": ((_IBAN,), _is_iban),
    "key": ((_KEY,), _is_key),
}
