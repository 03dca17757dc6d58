"""The one grammar of ``--where``, ``--rank`` and every other expression.

An expression is parsed into a tree and only the tree is turned into SQL, with every name
quoted and every literal escaped: nothing else in the text can reach the database. Numbers are
64-bit floats. A result that is undefined (division by zero, logarithm of a negative number,
overflow) is null, as is anything computed from null; a condition that is null does not hold.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, final

from curate.store.grammar import (
    Call,
    Literal_,
    Name,
    Node,
    Parser,
    column_names,
    fail,
    to_text,
    unknown,
)

Kind = Literal["number", "text", "bool", "null"]


@final
@dataclass(frozen=True, slots=True)
class Column:
    """The meaning of a column name: trusted SQL, and the kind of its values."""

    sql: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Function:
    takes: tuple[Kind, ...]  # the last one repeats when `repeats`
    gives: Kind
    sql: str  # {0}, {1} ... or {all}
    repeats: bool = False
    undefined: bool = False  # may yield a value that is not finite


def _finite(sql: str) -> str:
    """Wrap a float expression so that non-finite values become null; its text appears once."""
    return f"list_transform([{sql}], lambda v: case when isfinite(v) then v end)[1]"


_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "abs": _Function(("number",), "number", "abs({0})"),
    "log": _Function(("number",), "number", "try(ln({0}))", undefined=True),
    "log10": _Function(("number",), "number", "try(log10({0}))", undefined=True),
    "exp": _Function(("number",), "number", "exp({0})", undefined=True),
    "sqrt": _Function(("number",), "number", "try(sqrt({0}))", undefined=True),
    "pow": _Function(("number", "number"), "number", "pow({0}, {1})", undefined=True),
    "round": _Function(("number",), "number", "round({0})"),
    "floor": _Function(("number",), "number", "floor({0})"),
    "ceil": _Function(("number",), "number", "ceil({0})"),
    "least": _Function(("number",), "number", "least({all})", repeats=True),
    "greatest": _Function(("number",), "number", "greatest({all})", repeats=True),
    "lower": _Function(("text",), "text", "lower({0})"),
    "upper": _Function(("text",), "text", "upper({0})"),
    "length": _Function(("text",), "number", "length({0})::double"),
    "contains": _Function(("text", "text"), "bool", "contains({0}, {1})"),
    "starts_with": _Function(("text", "text"), "bool", "starts_with({0}, {1})"),
    "ends_with": _Function(("text", "text"), "bool", "suffix({0}, {1})"),
}
FUNCTIONS: Final = tuple(sorted([*_FUNCTIONS, "coalesce", "if"]))
"""Names of the functions an expression may call."""


@final
@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed expression. ``str`` gives a text that parses to the same tree.

    Examples
    --------
    >>> parsed = parse("likelihood.mean_logp > -2 and source = 'dolly'")
    >>> parsed.columns
    ('likelihood.mean_logp', 'source')
    """

    text: str = field(compare=False)
    root: Node

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns it reads, in order of appearance, each once."""
        return tuple(dict.fromkeys(column_names(self.root)))

    def to_sql(self, available: Mapping[str, Column]) -> Column:
        """Return its SQL and the kind of its values, given what each column name stands for.

        Raises `ExpressionError` for an unknown column or an operand of the wrong kind.
        """
        return _Compiler(self.text, available).compile(self.root)

    def __str__(self) -> str:
        return to_text(self.root)


def parse(text: str, aliases: Iterable[str] = ()) -> Parsed:
    """Parse an expression; raise `ExpressionError` with a caret under what is wrong.

    ``aliases`` are the names of the store's score sets: one with a hyphen may be written with ``_``.
    """
    return Parsed(text, Parser(text, FUNCTIONS, aliases).parse())


# Compiling ---------------------------------------------------------------------------------------


@final
class _Compiler:
    """Turns a tree into SQL; uses the text only for error messages."""

    def __init__(self, text: str, available: Mapping[str, Column]) -> None:
        self._text = text
        self._available = available

    def compile(self, node: Node) -> Column:
        if isinstance(node, Literal_):
            return _literal(node.value)
        if isinstance(node, Name):
            return self._column(node)
        rule = _RULES.get(node.name)
        if rule is not None:
            return rule(self, node)
        return self._function(node, _FUNCTIONS[node.name])

    def _column(self, node: Name) -> Column:
        column = self._available.get(node.name)
        if column is None:
            unknown(self._text, node.at, "column", node.name, sorted(self._available))
        if column.kind == "number":
            return Column(f"({column.sql})::double", "number")
        return column

    def _operand(self, node: Node, *kinds: Kind) -> str:
        column = self.compile(node)
        if column.kind != "null" and column.kind not in kinds:
            wanted = " or ".join(kinds)
            fail(self._text, node.at, f"this is {column.kind}, but {wanted} is needed")
        return f"null::{_CASTS[kinds[0]]}" if column.kind == "null" else column.sql

    def _same(self, nodes: Sequence[Node]) -> tuple[Kind, list[str]]:
        """Compile operands that must be of one kind; null fits any kind."""
        columns = [self.compile(node) for node in nodes]
        kinds = [c.kind for c in columns if c.kind != "null"]
        kind: Kind = kinds[0] if kinds else "null"
        for node, column in zip(nodes, columns, strict=True):
            if column.kind not in (kind, "null"):
                fail(self._text, node.at, f"this is {column.kind}, but {kind} is needed")
        return kind, [c.sql for c in columns]

    def _arithmetic(self, node: Call) -> Column:
        left, right = (self._operand(o, "number") for o in node.operands)
        return Column(_finite(f"({left} {node.name} {right})"), "number")

    def _negate(self, node: Call) -> Column:
        return Column(f"(- {self._operand(node.operands[0], 'number')})", "number")

    def _compare(self, node: Call) -> Column:
        kind, (left, right) = self._same(node.operands)
        if kind == "bool" and node.name not in ("=", "<>"):
            fail(
                self._text, node.at, "true and false cannot be ordered", "compare them with = or !="
            )
        return Column(f"({left} {node.name} {right})", "bool")

    def _logic(self, node: Call) -> Column:
        operands = f" {node.name} ".join(self._operand(o, "bool") for o in node.operands)
        return Column(f"({operands})", "bool")

    def _not(self, node: Call) -> Column:
        return Column(f"(not {self._operand(node.operands[0], 'bool')})", "bool")

    def _is_null(self, node: Call) -> Column:
        return Column(f"({self.compile(node.operands[0]).sql} is null)", "bool")

    def _in(self, node: Call) -> Column:
        _, (value, *options) = self._same(node.operands)
        return Column(f"({value} in ({', '.join(options)}))", "bool")

    def _between(self, node: Call) -> Column:
        kind, (value, low, high) = self._same(node.operands)
        if kind == "bool":
            fail(
                self._text, node.at, "true and false cannot be ordered", "compare them with = or !="
            )
        return Column(f"({value} between {low} and {high})", "bool")

    def _like(self, node: Call) -> Column:
        value, pattern = (self._operand(o, "text") for o in node.operands)
        return Column(f"({value} like {pattern})", "bool")

    def _coalesce(self, node: Call) -> Column:
        kind, options = self._same(node.operands)
        return Column(f"coalesce({', '.join(options)})", kind)

    def _if(self, node: Call) -> Column:
        if len(node.operands) != 3:
            fail(self._text, node.at, f"if takes 3 values, got {len(node.operands)}",
                  "write if(condition, value, otherwise)")  # fmt: skip
        condition = self._operand(node.operands[0], "bool")
        kind, (value, otherwise) = self._same(node.operands[1:])
        return Column(f"(case when {condition} then {value} else {otherwise} end)", kind)

    def _function(self, node: Call, function: _Function) -> Column:
        n = len(function.takes)
        if len(node.operands) != n and not (function.repeats and len(node.operands) > n):
            more = " or more" if function.repeats else ""
            fail(
                self._text, node.at, f"{node.name} takes {n}{more} values, got {len(node.operands)}"
            )
        takes = [function.takes[min(i, n - 1)] for i in range(len(node.operands))]
        operands = [self._operand(o, kind) for o, kind in zip(node.operands, takes, strict=True)]
        sql = function.sql.format(*operands, all=", ".join(operands))
        return Column(_finite(sql) if function.undefined else sql, function.gives)


_RULES: Final[Mapping[str, Callable[[_Compiler, Call], Column]]] = {
    **dict.fromkeys(("+", "-", "*", "/", "%"), _Compiler._arithmetic),
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), _Compiler._compare),
    **dict.fromkeys(("and", "or"), _Compiler._logic),
    "negate": _Compiler._negate,
    "not": _Compiler._not,
    "is null": _Compiler._is_null,
    "in": _Compiler._in,
    "between": _Compiler._between,
    "like": _Compiler._like,
    "coalesce": _Compiler._coalesce,
    "if": _Compiler._if,
}
_CASTS: Final[Mapping[Kind, str]] = {
    "number": "double", "text": "varchar", "bool": "boolean", "null": "varchar",
}  # fmt: skip


def _literal(value: float | str | bool | None) -> Column:
    if value is None:
        return Column("null", "null")
    if isinstance(value, bool):
        return Column(str(value).lower(), "bool")
    if isinstance(value, str):
        return Column("'" + value.replace("'", "''") + "'", "text")
    return Column(f"({value!r})::double", "number")
