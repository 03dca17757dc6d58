"""The text of an expression as a tree, and back; `curate.store.expressions` gives it meaning."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias, final

from curate.errors import ExpressionError, did_you_mean

MAX_LENGTH: Final = 100_000
MAX_DEPTH: Final = 100

_TOKENS: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z_0-9])
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>(?:[A-Za-z_][A-Za-z0-9_]*(?:@[0-9a-f]+)?|"(?:[^"]|"")+")
        (?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"(?:[^"]|"")+"))*)
    |(?P<mark><=|>=|<>|!=|==|[-+*/%=<>(),])""",
    re.VERBOSE | re.ASCII,
)
_WORDS: Final = frozenset(
    ("and", "or", "not", "in", "is", "null", "true", "false", "between", "like")
)
_WORD_OF: Final = {None: "null", True: "true", False: "false"}
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:@[0-9a-f]+)?", re.ASCII)
_COMPARISONS: Final[Mapping[str, str]] = {
    "=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip
_INFIX: Final = frozenset((*_COMPARISONS.values(), *"+-*/%", "and", "or", "like"))
_OR, _AND, _NOT, _COMPARE, _ADD, _MULTIPLY, _SIGN = range(1, 8)


@final
@dataclass(frozen=True, slots=True)
class Literal_:
    """A number, text, true, false or null."""

    value: float | str | bool | None
    at: int = field(default=0, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Name:
    """A column: ``name``, ``alias.column``, or ``alias@id.column`` of one of several score sets."""

    name: str
    at: int = field(default=0, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function with its operands, in order.

    Operators are called by their SQL word: ``+``, ``and``, ``not``, ``negate``, ``in``,
    ``is null``, ``between``, ``like``.
    """

    name: str
    operands: "tuple[Node, ...]"
    at: int = field(default=0, compare=False)
    depth: int = field(default=1, compare=False)


Node: TypeAlias = Literal_ | Name | Call


@final
@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, name, word, mark, end
    value: str
    at: int


def _tokens(text: str, aliases: Iterable[str]) -> Iterator[_Token]:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text)} characters; at most {MAX_LENGTH} are read"
        )
    hyphened = _Hyphened.among(aliases)
    at = 0
    while at < len(text):
        if hyphened is not None and (found := hyphened.match(text, at)) is not None:
            token, at = found
            yield token
            continue
        match = _TOKENS.match(text, at)
        if match is None:
            what = "text without a closing quote" if text[at] == "'" else f"unexpected {text[at]!r}"
            fail(text, at, what, "write columns, numbers, 'text', operators and functions")
        kind, value = str(match.lastgroup), match[0]
        if kind == "name" and value.lower() in _WORDS:
            kind, value = "word", value.lower()
        if kind != "space":
            yield _Token(kind, value, at)
        at = match.end()
    yield _Token("end", "", at)


@final
@dataclass(frozen=True, slots=True)
class _Hyphened:
    """The names of score sets with a hyphen: each may be written with ``-`` or ``_`` before a column.

    ``a-b.c`` is the column ``c`` of the set ``a-b`` where there is one, else a difference. A name
    written exactly goes before another that has its letters.
    """

    exact: frozenset[str]
    pattern: re.Pattern[str]

    @classmethod
    def among(cls, aliases: Iterable[str]) -> "_Hyphened | None":
        """Return those of ``aliases`` that have a hyphen, or None where there are none."""
        exact = frozenset(aliases)
        wanted = sorted(
            {_plain(alias) for alias in exact if "-" in alias}, key=lambda a: (-len(a), a)
        )
        if not wanted:
            return None
        names = "|".join(re.escape(alias).replace("_", "[-_]") for alias in wanted)
        column = r'[A-Za-z_][A-Za-z0-9_]*|"(?:[^"]|"")+"'
        pattern = rf"(?P<alias>{names})(?P<mark>@[0-9a-f]+)?\.(?P<column>{column})"
        return cls(exact, re.compile(pattern, re.ASCII))

    def match(self, text: str, at: int) -> tuple[_Token, int] | None:
        """Return the name that begins at a place, and where it ends; raise for one of two sets."""
        match = self.pattern.match(text, at)
        if match is None:
            return None
        alias = match["alias"]
        if alias not in self.exact:
            meant = sorted(known for known in self.exact if _plain(known) == _plain(alias))
            if len(meant) > 1:
                ways = " or ".join(f'"{known}".{match["column"]}' for known in meant)
                fail(text, at, f"{alias!r} is the name of {len(meant)} score sets", f"write {ways}")
            alias = meant[0]
        if "-" not in alias:
            return None
        value = f"{_quoted(alias + (match['mark'] or ''))}.{match['column']}"
        return _Token("name", value, at), match.end()


def _plain(alias: str) -> str:
    return alias.replace("-", "_")


def spelled(name: str) -> str:
    """Return a column's name as an expression may have it: score sets with ``_`` for ``-``.

    Examples
    --------
    >>> spelled("token-probability.mean_probability"), spelled("n_rows")
    ('token_probability.mean_probability', 'n_rows')
    """
    alias, dot, column = name.rpartition(".")
    return f"{_plain(alias)}{dot}{column}"


@final
class Parser:
    """Operator precedence parsing: or, and, not, comparison, + -, * / %, sign."""

    def __init__(self, text: str, functions: Sequence[str], aliases: Iterable[str] = ()) -> None:
        self._text = text
        self._functions = functions
        self._tokens = list(_tokens(text, aliases))
        self._next = 0
        self._nested = 0

    def parse(self) -> Node:
        """Return the tree of the whole text."""
        node = self._expression(0)
        if self._token.kind != "end":
            self._unexpected("an operator or the end")
        return node

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *values: str) -> _Token | None:
        token = self._token
        if token.kind in ("mark", "word") and token.value in values:
            self._next += 1
            return token
        return None

    def _need(self, value: str) -> None:
        if self._take(value) is None:
            self._unexpected(repr(value))

    def _unexpected(self, wanted: str) -> NoReturn:
        token = "the end" if self._token.kind == "end" else repr(self._token.value)
        fail(self._text, self._token.at, f"expected {wanted}, found {token}")

    def _call(self, name: str, at: int, *operands: Node) -> Call:
        depth = 1 + max((o.depth for o in operands if isinstance(o, Call)), default=0)
        if depth > MAX_DEPTH:
            self._too_deep(at)
        return Call(name, operands, at, depth)

    def _too_deep(self, at: int) -> NoReturn:
        fail(self._text, at, f"nested more than {MAX_DEPTH} deep", "use in (...) for long lists")

    def _expression(self, power: int) -> Node:
        self._nested += 1
        if self._nested > MAX_DEPTH:
            self._too_deep(self._token.at)
        left = self._prefix()
        while (bound := self._power()) > power:
            left = self._infix(left, bound)
        self._nested -= 1
        return left

    def _power(self) -> int:
        token = self._token
        if token.kind == "word":
            powers = {"or": _OR, "and": _AND}
            return powers.get(
                token.value,
                _COMPARE if token.value in ("in", "is", "between", "like", "not") else 0,
            )
        if token.kind != "mark":
            return 0
        if token.value in _COMPARISONS:
            return _COMPARE
        return {"+": _ADD, "-": _ADD, "*": _MULTIPLY, "/": _MULTIPLY, "%": _MULTIPLY}.get(
            token.value, 0
        )

    def _infix(self, left: Node, power: int) -> Node:
        token = self._token
        if power != _COMPARE or token.value in _COMPARISONS:
            self._next += 1
            name = _COMPARISONS.get(token.value, token.value)
            node: Node = self._call(name, token.at, left, self._expression(power))
        else:
            node = self._predicate(left)
        if power == _COMPARE and self._power() == _COMPARE:
            fail(self._text, self._token.at, "comparisons cannot be chained", "join them with and")
        return node

    def _predicate(self, left: Node) -> Node:
        at = self._token.at
        if self._take("is"):
            negated = self._take("not") is not None
            self._need("null")
            node = self._call("is null", at, left)
            return self._call("not", at, node) if negated else node
        negated = self._take("not") is not None
        if self._take("in"):
            self._need("(")
            node = self._call("in", at, left, *self._list())
        elif self._take("between"):
            low = self._expression(_COMPARE)
            self._need("and")
            node = self._call("between", at, left, low, self._expression(_COMPARE))
        elif self._take("like"):
            node = self._call("like", at, left, self._expression(_COMPARE))
        else:
            self._unexpected("in, between or like")
        return self._call("not", at, node) if negated else node

    def _prefix(self) -> Node:
        token = self._token
        self._next += 1
        if token.kind == "number":
            return Literal_(self._number(token, 1.0), token.at)
        if token.kind == "text":
            return Literal_(self._string(token), token.at)
        if token.kind == "name":
            if self._take("("):
                name = token.value.lower()
                if name not in self._functions:
                    unknown(self._text, token.at, "function", token.value, self._functions)
                return self._call(name, token.at, *self._list())
            return Name(_unquoted(token.value), token.at)
        if token.value in ("true", "false", "null"):
            return Literal_({"true": True, "false": False}.get(token.value), token.at)
        if token.value == "not":
            return self._call("not", token.at, self._expression(_NOT))
        if token.value == "(" and token.kind == "mark":
            node = self._expression(0)
            self._need(")")
            return node
        if token.value in ("-", "+"):
            return self._sign(token)
        self._next -= 1
        self._unexpected("a value")

    def _sign(self, token: _Token) -> Node:
        if token.value == "-" and self._token.kind == "number":
            number = self._token
            self._next += 1
            return Literal_(self._number(number, -1.0), token.at)
        operand = self._expression(_SIGN)
        return self._call("negate", token.at, operand) if token.value == "-" else operand

    def _list(self) -> list[Node]:
        operands = [self._expression(0)]
        while self._take(","):
            operands.append(self._expression(0))
        self._need(")")
        return operands

    def _number(self, token: _Token, sign: float) -> float:
        value = sign * float(token.value)
        if not math.isfinite(value):
            fail(self._text, token.at, f"{token.value} is too large for a 64-bit float")
        return value

    def _string(self, token: _Token) -> str:
        value = token.value[1:-1].replace("''", "'")
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            fail(self._text, token.at, "the text contains a character that cannot be stored")
        return value


def column_names(node: Node) -> Iterator[str]:
    """Yield the names of the columns in a tree, in order of appearance."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Call):
        for operand in node.operands:
            yield from column_names(operand)


def to_text(node: Node) -> str:
    """Return a text that parses to the same tree."""
    if isinstance(node, Name):
        return ".".join(_quoted(part) for part in node.name.split("."))
    if isinstance(node, Literal_):
        if isinstance(node.value, str):
            return "'" + node.value.replace("'", "''") + "'"
        return repr(node.value) if isinstance(node.value, float) else _WORD_OF[node.value]
    first, *rest = (to_text(operand) for operand in node.operands)
    if node.name == "in":
        return f"({first} in ({', '.join(rest)}))"
    if node.name == "between":
        return f"({first} between {rest[0]} and {rest[1]})"
    if node.name in ("not", "negate"):
        return f"(not {first})" if node.name == "not" else f"(-({first}))"
    if node.name == "is null":
        return f"({first} is null)"
    if node.name in _INFIX:
        return f"({first} {node.name} {rest[0]})"
    return f"{node.name}({', '.join((first, *rest))})"


def _quoted(part: str) -> str:
    if _PLAIN.fullmatch(part) and part.lower() not in _WORDS:
        return part
    return '"' + part.replace('"', '""') + '"'


def _unquoted(name: str) -> str:
    parts = re.findall(r'"(?:[^"]|"")+"|[^".]+', name)
    return ".".join(p[1:-1].replace('""', '"') if p.startswith('"') else p for p in parts)


def fail(text: str, at: int, what: str, advice: str = "") -> NoReturn:
    """Raise with the line of the expression and a caret under the place."""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[max(start, at - 60) : min(len(text) if end < 0 else end, at + 60)]
    caret = " " * (at - max(start, at - 60)) + "^"
    more = f"; {advice}" if advice else ""
    raise ExpressionError(
        f"{what} at character {at + 1} of the expression{more}\n  {line}\n  {caret}"
    )


def unknown(text: str, at: int, what: str, name: str, known: Sequence[str]) -> NoReturn:
    """Raise for an unknown name, with the nearest spelling and all known names, as they are typed."""
    known = [spelled(each) for each in known]
    advice = f"{did_you_mean(name, known)}; available: {', '.join(known) or 'none'}"
    fail(text, at, f"unknown {what} {name!r}", advice.removeprefix("; "))
