"""A chat template's code: compiled once as transformers does, limited in time, without a clock."""

import datetime
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.errors import ConfigError, ExampleFailure, ModelError, did_you_mean

TEMPLATE_ERROR: Final = "template_error"
TEMPLATE_TIMEOUT: Final = "template_timeout"
FIXED_DATE: Final = datetime.datetime(2026, 1, 1)  # what a template that asks for the date gets

LIMIT_S: Final = 5.0  # for one rendering; a real template takes well under a millisecond
_REASON_CHARS: Final = 160
_TICK: Final = "curate_tick"
_LIMITED: Final = frozenset({"**", "*", "+"})
_POWER_BITS: Final = 30
MAX_SIZE: Final = 10_000_000  # bits of a number, or items, that an operator may give
_GIVEN: Final = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
_CLOCK: Final = "strftime_now"


class _TooLongError(Exception):
    """A template used up its time."""


@final
@dataclass(slots=True)
class _Clock:
    """Stops a template at its next turn of a loop, or call of a macro, after the deadline."""

    deadline: float = 0.0

    def tick(self) -> str:
        if time.monotonic() > self.deadline:
            raise _TooLongError
        return ""


@final
@dataclass(frozen=True, slots=True, eq=False)
class TemplateCode:
    """A compiled template in the sandbox of transformers.

    Parameters
    ----------
    variables
        Names it reads from outside that neither the sandbox nor a rendering gives by itself: what
        ``--template-args`` can set.
    asks_for_date
        Whether it reads a clock; it is then given `FIXED_DATE`, so that a text is always the same.
    """

    compiled: Any
    clock: _Clock
    variables: frozenset[str] = field(default_factory=frozenset)
    asks_for_date: bool = False

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        arguments: Mapping[str, Any],
        *,
        prompt: bool,
    ) -> str:
        """Return the text of a conversation, with the generation prompt if ``prompt``.

        Raises `ExampleFailure` with the template's own words when it refuses, and when it takes
        longer than 5 seconds.
        """
        blocks = self._run(
            self.compiled.render, messages, tools, arguments, add_generation_prompt=prompt
        )
        return str(blocks)

    def marked(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        arguments: Mapping[str, Any],
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a conversation, and where it is marked with ``{% generation %}``.

        Raises `ExampleFailure` as `render` does.
        """
        blocks: list[str] = []
        spans: list[tuple[int, int]] = []

        def collect(**given: Any) -> None:
            with self.compiled.environment.activate_tracker(blocks, spans):
                blocks.extend(self.compiled.generate(**given))

        self._run(collect, messages, tools, arguments, add_generation_prompt=False)
        return "".join(blocks), list(spans)

    def _run(
        self,
        work: Callable[..., Any],
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        arguments: Mapping[str, Any],
        **given: Any,
    ) -> Any:
        if messages and TEMPLATE_ARGUMENTS in messages[0]:  # the conversation's own go first
            bare = {key: value for key, value in messages[0].items() if key != TEMPLATE_ARGUMENTS}
            arguments = {**arguments, **messages[0][TEMPLATE_ARGUMENTS]}
            messages = [bare, *messages[1:]]
        self.clock.deadline = time.monotonic() + LIMIT_S
        try:
            return work(messages=messages, tools=tools, documents=None, **given, **arguments)
        except _TooLongError as error:
            raise ExampleFailure(TEMPLATE_TIMEOUT) from error
        except Exception as error:  # a template is foreign code and may raise anything
            words = " ".join(str(error).split())[:_REASON_CHARS]
            reason = f"{TEMPLATE_ERROR}: {words}" if words else TEMPLATE_ERROR
            raise ExampleFailure(reason) from error

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Raise `ConfigError` for an argument the template never reads."""
        for name in arguments:
            if name in self.variables:
                continue
            hint = did_you_mean(name, self.variables)
            known = ", ".join(sorted(self.variables)) or "none"
            raise ConfigError(
                f"the chat template reads no argument {name!r}{hint}; it reads: {known}; "
                "take it out of --template-args"
            )


@lru_cache(maxsize=64)
def compile_template(source: str) -> TemplateCode:
    """Compile a template, and put a check of the time into each of its loops and macros.

    Raises `ModelError` with the line for a template that is not valid Jinja.
    """
    from jinja2 import TemplateSyntaxError, meta, nodes
    from transformers.utils import chat_template_utils

    compile_as_transformers: Any = chat_template_utils._cached_compile_jinja_template
    digest = hashlib.blake2b(source.encode("utf-8", "surrogatepass")).hexdigest()
    # an environment of its own: that of the source itself would compute its constants first
    environment = compile_as_transformers(f"{{# {digest} #}}").environment
    environment.intercepted_binops = _LIMITED
    environment.call_binop = _limited(environment)
    try:
        tree = environment.parse(source)
        environment.compile(environment.parse(source))
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is not valid Jinja: line {error.lineno}: {error.message}; "
            "correct it, or pass another with --chat-template FILE"
        ) from error
    clock = _Clock()
    variables = frozenset(meta.find_undeclared_variables(tree))
    for node in tree.find_all((nodes.For, nodes.Macro)):
        tick = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(tick))
    nodes.Template.set_environment(tree, environment)
    tree.set_lineno(1)
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    asks = any(node.name == _CLOCK for node in tree.find_all(nodes.Name))
    environment.globals.update({_TICK: clock.tick, _CLOCK: _fixed_date})
    code = environment.compile(tree)
    compiled = environment.template_class.from_code(environment, code, environment.globals)
    return TemplateCode(compiled, clock, variables - own - _GIVEN, asks)


def _limited(environment: Any) -> Callable[[Any, str, Any, Any], Any]:
    """Return how operators are carried out whose results may need any time or memory."""
    compute = environment.binop_table

    def call(_context: Any, operator: str, left: Any, right: Any) -> Any:
        if _size(operator, left, right) > MAX_SIZE:
            raise OverflowError(f"the result of {operator} is too large")
        return compute[operator](left, right)

    return call


def _size(operator: str, left: Any, right: Any) -> int:
    """Return about how many bits or items a result has; 0 where it is small for certain."""
    if isinstance(left, int) and isinstance(right, int):
        n, m = left.bit_length(), right.bit_length()
        if operator == "**":
            return n * right if m < _POWER_BITS else n << _POWER_BITS
        return n + m if operator == "*" else 0
    if operator == "+":
        both = isinstance(left, Sized) and isinstance(right, Sized)
        return len(left) + len(right) if both else 0
    for many, times in ((left, right), (right, left)):
        if operator == "*" and isinstance(many, Sized) and isinstance(times, int):
            return len(many) * times
    return 0


def _fixed_date(format: str) -> str:
    return FIXED_DATE.strftime(format)
