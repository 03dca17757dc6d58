"""What a chat template may compute: nothing larger than a bound, by whatever operator, filter or method."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import partial, reduce, wraps
from typing import Any, Final

MAX_SIZE: Final = 10_000_000  # bits of a number, or characters and items, that one step may give
OPERATORS: Final = frozenset({"**", "*", "+", "%"})
SUM: Final = "curate_sum"
JOINED: Final = "curate_joined"
MADE: Final = "curate_made"
WRITTEN: Final = "curate_written"
_POWER_BITS: Final = 30
_MOST_DIGITS: Final = 1_000  # that a number is rounded to
_MOST_BLANKS: Final = 100  # before a line of JSON
_COST: Final = 8  # characters that an item counts for
_FORMATS: Final = ("%", "format", "format_map")
_NUMBER: Final = re.compile(r"\d+")


def limit(environment: Any, tick: Callable[[], str]) -> None:
    """Bound what the operators, filters and calls of a sandbox give; filters and calls ``tick``."""
    del environment.filters["urlize"]  # minutes for some texts, and no prompt has links
    environment.intercepted_binops = OPERATORS
    environment.call_binop = _limited_operator(environment)
    for name, compute in list(environment.filters.items()):
        environment.filters[name] = _limited_filter(name, compute, tick)
    environment.call = _limited_call(environment.call, tick)
    environment.filters[SUM] = _summed(environment.call_binop)
    environment.filters[JOINED] = _joined
    environment.filters[MADE] = partial(_checked, "a list")
    environment.concat = lambda pieces: "".join(in_bounds(pieces))


def in_bounds(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a text as long as all of them together are no larger than the bound."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_SIZE:
            _refuse("the template")
        yield piece


def bounded(tree: Any) -> Any:
    """Put the bounds into a template's tree: chains of ``+`` and ``~``, and lists that are written out.

    A chain of additions, which are what templates mostly do, is computed in one call.
    """
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Bounding(NodeTransformer):
        def visit_Add(self, node: nodes.Add) -> nodes.Node:
            parts: list[nodes.Expr] = []
            left: nodes.Expr = node
            while isinstance(left, nodes.Add):
                parts.insert(0, self.visit(left.right))
                left = left.left
            return nodes.Filter(self.visit(left), SUM, parts, [], None, None)

        def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
            first, *others = [self.visit(part) for part in node.nodes]
            return nodes.Filter(first, JOINED, others, [], None, None)

        def visit_List(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Node:
            self.generic_visit(node)
            if all(isinstance(item, nodes.Const) for item in node.items):
                return node
            return nodes.Filter(node, MADE, [], [], None, None)

        def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
            return self.visit_List(node) if node.ctx == "load" else self.generic_visit(node)

        visit_Dict = visit_List

        def visit_Output(self, node: nodes.Output) -> nodes.Node:
            self.generic_visit(node)
            node.nodes = [
                each
                if isinstance(each, nodes.TemplateData)
                else nodes.Filter(each, WRITTEN, [], [], None, None)
                for each in node.nodes
            ]
            return node

    return Bounding().visit(tree)


def size(value: Any) -> int:
    """Return about how many characters a value has where it is written; no more than is over the bound.

    What stands in a list several times counts as often.
    """
    if isinstance(value, str | bytes):
        return len(value)
    total, left = 0, [value]
    while left and total <= MAX_SIZE:
        held = left.pop()
        total += len(held) if isinstance(held, str | bytes) else _COST
        if isinstance(held, Mapping):
            left.extend(held.values())
        elif isinstance(held, list | tuple):
            left.extend(held[: MAX_SIZE // _COST + 1])
    return total


def _refuse(what: str) -> None:
    raise OverflowError(f"the result of {what} is too large")


def _checked(what: str, value: Any) -> Any:
    if type(value) is str:
        if len(value) > MAX_SIZE:
            _refuse(what)
    elif isinstance(value, bytes | list | tuple | dict) and size(value) > MAX_SIZE:
        _refuse(what)
    return value


# Operators ----------------------------------------------------------------------------------------


def _limited_operator(environment: Any) -> Callable[[Any, str, Any, Any], Any]:
    compute = environment.binop_table

    def call(_context: Any, operator: str, left: Any, right: Any) -> Any:
        if _size_of(operator, left, right) > MAX_SIZE:
            _refuse(operator)
        return compute[operator](left, right)

    return call


def _size_of(operator: str, left: Any, right: Any) -> int:
    """Return about how many bits or characters a result has; 0 where it is small for certain."""
    if isinstance(left, int) and isinstance(right, int):
        n, m = left.bit_length(), right.bit_length()
        if operator == "**":
            return n * right if m < _POWER_BITS else n << _POWER_BITS
        return n + m if operator == "*" else 0
    if operator == "+":
        both = isinstance(left, Sized) and isinstance(right, Sized)
        return size(left) + size(right) if both else 0
    if operator == "%":
        given = right if isinstance(right, tuple) else (right,)
        return _formatted(left, *given) if isinstance(left, str) else 0
    for many, times in ((left, right), (right, left)):
        if operator == "*" and isinstance(many, Sized) and isinstance(times, int):
            return size(many) * times
    return 0


def _summed(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return how parts are added one after the other; texts are put together at once."""

    def summed(*parts: Any) -> Any:
        if all(type(part) is str for part in parts) and sum(map(len, parts)) <= MAX_SIZE:
            return "".join(parts)
        return reduce(partial(call, None, "+"), parts)

    return summed


def _joined(*parts: Any) -> str:
    """Write parts one after the other, as ``~`` does."""
    if sum(map(size, parts)) > MAX_SIZE:
        _refuse("~")
    return "".join(map(str, parts))


# Filters, and calls of functions and methods ------------------------------------------------------


def _limited_filter(name: str, compute: Any, tick: Callable[[], str]) -> Any:
    is_passed = hasattr(compute, "jinja_pass_arg")  # the context or environment comes first

    @wraps(compute)
    def limited(*args: Any, **named: Any) -> Any:
        tick()
        first, given = (args[:1], list(args[1:])) if is_passed else ((), list(args))
        _check_asked(name, given, named)
        return _checked(name, compute(*first, *given, **named))

    return limited


def _limited_call(call: Any, tick: Callable[[], str]) -> Any:
    def limited(context: Any, called: Any, /, *args: Any, **named: Any) -> Any:
        tick()
        bare = getattr(called, "__wrapped__", called)
        name, owner = getattr(bare, "__name__", ""), getattr(bare, "__self__", None)
        if isinstance(owner, str | bytes):
            given = [*args, owner] if name == "join" else [owner, *args]
            _check_asked(name, given, named)
            args = tuple(given[:-1] if name == "join" else given[1:])
        elif name == "generate_lorem_ipsum":
            _check_lorem(*args, **named)
        return _checked(name or "a call", call(context, called, *args, **named))

    return limited


def _check_asked(name: str, given: list[Any], named: Mapping[str, Any]) -> None:
    """Raise `OverflowError` for what would be too large; an iterator to join becomes a list."""
    rule = _RULES.get(name)
    if rule is None or not given:
        return
    if name == "join" and not isinstance(given[0], str | list | tuple | Mapping):
        given[0] = list(given[0])
    try:
        n = rule(*given, **named)
    except (TypeError, AttributeError):  # it will say itself what is wrong with what it is given
        return
    if n > MAX_SIZE:
        _refuse(name)


def _check_lorem(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> None:
    del html, min
    if n * max > MAX_SIZE // 100:
        _refuse("lipsum")


def _padded(text: Any, width: int = 80, *_: Any) -> int:
    return max(size(text), int(width))


def _replaced(text: Any, old: Any, new: Any, *_: Any, **__: Any) -> int:
    held = str(text)
    return len(held) + held.count(str(old)) * len(str(new))


def _joined_size(items: Iterable[Any], between: Any = "", *_: Any, **__: Any) -> int:
    held = list(items)
    return size(held) + len(held) * size(between)


def _indented(text: Any, width: Any = 4, *_: Any, **__: Any) -> int:
    each = width if isinstance(width, int) else size(width)
    return size(text) + (str(text).count("\n") + 1) * each


def _wrapped(
    text: Any, width: int = 79, _: Any = True, wrapstring: Any = None, *__: Any, **___: Any
) -> int:
    held = str(text)
    return len(held) + (len(held) // max(width, 1) + held.count("\n") + 1) * size(wrapstring or "")


def _expanded(text: str, tabsize: int = 8) -> int:
    return len(text) + text.count("\t") * tabsize


def _formatted(text: Any, *given: Any, **named: Any) -> int:
    """Return the most that a format can give: each field as wide as is asked, or as its longest value."""
    held = str(text)
    values = [*given, *named.values()]
    widths = [int(digits[:12]) for digits in _NUMBER.findall(held)]
    if "*" in held or re.search(r"\{[^}]*\{", held):  # a width that is a value
        widths += [abs(value) for value in values if isinstance(value, int)]
    longest = max([0, *widths, *map(size, values)])
    return len(held) + (held.count("%") + held.count("{")) * longest


def _json_size(value: Any, _: Any = False, indent: Any = None, *__: Any, **___: Any) -> int:
    blanks = indent if isinstance(indent, int) else size(indent or "")
    return MAX_SIZE + 1 if blanks > _MOST_BLANKS else size(value)


def _rounded(value: Any, precision: int = 0, *_: Any) -> int:
    del value
    return MAX_SIZE + 1 if abs(precision) > _MOST_DIGITS else 0


def _cut(value: Any, number: int, *_: Any, **__: Any) -> int:
    return max(size(value), _COST * number)


def _added(items: Any, attribute: Any = None, start: Any = 0) -> int:
    del attribute
    return size(list(items)) + size(start) if isinstance(items, list | tuple) else 0


_RULES: Final[Mapping[str, Callable[..., int]]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(_FORMATS, _formatted),
    **dict.fromkeys(("batch", "slice"), _cut),
    "replace": _replaced, "join": _joined_size, "indent": _indented, "wordwrap": _wrapped,
    "expandtabs": _expanded, "tojson": _json_size, "round": _rounded, "sum": _added,
}  # fmt: skip
