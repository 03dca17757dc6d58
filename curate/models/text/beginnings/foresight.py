"""Where a chat template reads what comes later in a conversation than what it is writing.

The text of a conversation's beginning is the beginning of the text of the whole, as long as nothing
in it was decided by later messages. A template is rebuilt so that it reports every such read while
it runs; see `curate.models.text.beginnings.trace.Trace` for what the reports mean.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from curate.models.text.beginnings.trace import (
    ASKED,
    ENDED,
    ITEM,
    ITERATED,
    NEXT,
    STARTED,
    TAIL,
    WHOLE,
)

MESSAGES: Final = "messages"
_LOOP: Final = "loop"
_MARKED: Final = "_generation_support"  # the method of transformers' extension for the marks
_PROMPT: Final = "add_generation_prompt"
_OF_THE_PAST: Final = frozenset(
    {"first", "index", "index0", "depth", "depth0", "cycle", "changed", "previtem"}
)
_OF_THE_NEXT: Final = frozenset({"last", "nextitem"})
_UNKNOWN: Final = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.Break,
    nodes.EvalContextModifier,
)


def report_foresight(tree: nodes.Template) -> bool:
    """Rebuild a template so that it reports what it reads ahead; False if that cannot be known.

    It has to write its messages in one loop, and what it writes after that loop must not depend on
    them. The tree is changed in place, and of no use after False.
    """
    if any(tree.find_all(_UNKNOWN)) or _stores(tree) & {_LOOP, _PROMPT, "self"}:
        return False
    if any(name.name == "self" for name in tree.find_all(nodes.Name)):
        return False
    _Unmarking().visit(tree)
    aliases = _aliases(tree)
    if MESSAGES not in aliases:
        return False
    loops = [
        node
        for node in tree.body
        if isinstance(node, nodes.For) and _is_alias(node.iter, aliases) and node.find(nodes.Output)
    ]
    if len(loops) != 1 or not _is_plain(loops[0]):
        return False
    at = tree.body.index(loops[0])
    if _loads(tree.body[at + 1 :]) & _varying(tree.body, at, aliases):
        return False
    reports = _Reports(aliases)
    before = [reports.visit(node) for node in tree.body[:at]]
    tree.body = [*before, reports.main(loops[0]), _statement(ENDED), *tree.body[at + 1 :]]
    return True


class _Unmarking(NodeTransformer):
    """Writes what stands in ``{% generation %}`` marks as it is: nobody asks a trace for the marks.

    The names it sets stay its own, as in the macro that the marks make of it.
    """

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        called = node.call.node
        if isinstance(called, nodes.ExtensionAttribute) and called.name == _MARKED:
            return nodes.Scope(node.body)
        return node


class _Reports(NodeTransformer):
    """Wraps each read of messages, of ``loop`` and of the wish for a prompt."""

    def __init__(self, aliases: frozenset[str]) -> None:
        self._aliases = aliases
        self._in_main = False

    def main(self, node: nodes.For) -> nodes.For:
        node.iter = _filter(self._alias(node.iter), ITERATED)
        self._in_main = True
        node.body = [_statement(STARTED), *(self.visit(inner) for inner in node.body)]
        self._in_main = False
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        node.iter = self.visit(node.iter)
        node.else_ = [self.visit(inner) for inner in node.else_]
        outer, self._in_main = self._in_main, False
        node.test = self.visit(node.test) if node.test is not None else None
        node.body = [self.visit(inner) for inner in node.body]
        self._in_main = outer
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        if isinstance(node.target, nodes.Name) and node.target.name in self._aliases:
            node.node = self._alias(node.node)
            return node
        return self.generic_visit(node)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.ctx != "load":
            return node
        if node.name in self._aliases or (node.name == _LOOP and self._in_main):
            return _filter(node, WHOLE)
        return _filter(node, ASKED) if node.name == _PROMPT else node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        if self._is_main_loop(node.node):
            return self._of_loop(node, node.attr)
        return self.generic_visit(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        if self._is_main_loop(node.node) and isinstance(node.arg, nodes.Const):
            return self._of_loop(node, node.arg.value)
        of_messages = isinstance(node.node, nodes.Name) and node.node.name in self._aliases
        if of_messages and _is_number(node.arg):
            node.arg = self.visit(node.arg)
            return _filter(node, ITEM, node.node, node.arg)
        return self.generic_visit(node)

    def _is_main_loop(self, node: nodes.Expr) -> bool:
        return self._in_main and isinstance(node, nodes.Name) and node.name == _LOOP

    def _of_loop(self, node: nodes.Expr, attribute: Any) -> nodes.Expr:
        if attribute in _OF_THE_PAST:
            return node
        return _filter(node, NEXT if attribute in _OF_THE_NEXT else WHOLE)

    def _alias(self, node: Any) -> Any:
        if isinstance(node, nodes.Getitem):
            return _filter(node, TAIL)
        if isinstance(node, nodes.CondExpr) and node.expr2 is not None:
            node.test = self.visit(node.test)
            node.expr1, node.expr2 = self._alias(node.expr1), self._alias(node.expr2)
        return node


def _is_plain(loop: nodes.For) -> bool:
    return (
        isinstance(loop.target, nodes.Name)
        and not loop.else_
        and loop.test is None
        and not loop.recursive
    )


def _is_number(node: nodes.Expr) -> bool:
    """Whether an index is an expression that can be computed twice."""
    parts = [node, *node.find_all(nodes.Expr)]
    plain = (nodes.Const, nodes.Name, nodes.Getattr, nodes.Add, nodes.Sub, nodes.Neg)
    return all(isinstance(part, plain) for part in parts) and not (
        _loads([node]) & {MESSAGES, _PROMPT}
    )


def _is_alias(node: nodes.Node, aliases: frozenset[str] | set[str]) -> bool:
    """Whether an expression is the messages, or all of them from some fixed one on."""
    if isinstance(node, nodes.Name):
        return node.name in aliases
    if isinstance(node, nodes.CondExpr):
        return (
            node.expr2 is not None
            and _is_alias(node.expr1, aliases)
            and _is_alias(node.expr2, aliases)
        )
    if not isinstance(node, nodes.Getitem) or not isinstance(node.arg, nodes.Slice):
        return False
    start, stop, step = node.arg.start, node.arg.stop, node.arg.step
    return (
        isinstance(node.node, nodes.Name)
        and node.node.name in aliases
        and isinstance(start, nodes.Const)
        and type(start.value) is int
        and start.value >= 0
        and stop is None
        and step is None
    )


def _aliases(tree: nodes.Template) -> frozenset[str]:
    """Return the names that stand for the messages, or their tail, wherever they are used."""
    values: dict[str, list[nodes.Node]] = {MESSAGES: []}
    stores = [name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"]
    stores += [macro.name for macro in tree.find_all(nodes.Macro)]
    for assign in tree.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name):
            values.setdefault(assign.target.name, []).append(assign.node)
    names = {name for name, given in values.items() if stores.count(name) == len(given)}
    while True:
        kept = {name for name in names if all(_is_alias(v, names) for v in values[name])}
        if kept == names:
            return frozenset(names)
        names = kept


def _varying(body: Sequence[nodes.Node], at: int, aliases: frozenset[str]) -> frozenset[str]:
    """Return the names whose values may depend on the messages after the loop at some place."""
    names = {*aliases, MESSAGES, "tools", "documents", _LOOP, *_stores(body[at])}
    while True:
        more = {name for node in body if _loads([node]) & names for name in _stores(node)} - names
        if not more:
            return frozenset(names)
        names |= more


def _stores(node: nodes.Node) -> set[str]:
    names = {name.name for name in node.find_all(nodes.Name) if name.ctx != "load"}
    names |= {reference.name for reference in node.find_all(nodes.NSRef)}
    if isinstance(node, nodes.Macro):
        names.add(node.name)
    return names | {macro.name for macro in node.find_all(nodes.Macro)}


def _loads(body: Sequence[nodes.Node]) -> set[str]:
    return {name.name for node in body for name in _names(node) if name.ctx == "load"}


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _statement(report: str) -> nodes.ExprStmt:
    return nodes.ExprStmt(_filter(nodes.Const(None), report))


def _filter(node: nodes.Expr, report: str, *given: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, report, list(given), [], None, None)
