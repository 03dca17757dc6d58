"""A chat template's code: compiled once as transformers does, limited in time, without a clock."""

import datetime
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.errors import ConfigError, ExampleFailure, ModelError, did_you_mean
from curate.models.text import template_limits
from curate.models.text.beginnings.trace import Beginnings, Trace

TEMPLATE_ERROR: Final = "template_error"
TEMPLATE_TIMEOUT: Final = "template_timeout"
FIXED_DATE: Final = datetime.datetime(2026, 1, 1)  # what a template that asks for the date gets

_MOST_WRITTEN: Final = 10 * template_limits.MAX_SIZE
LIMIT_S: Final = 5.0  # for one rendering; a real template takes well under a millisecond
_REASON_CHARS: Final = 160
_TICK: Final = "curate_tick"
_GIVEN: Final = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
_CLOCK: Final = "strftime_now"
_CHANCE: Final = "random"


class _TooLongError(Exception):
    """A template used up its time."""


@final
@dataclass(slots=True)
class _Clock:
    """Stops a template at its next turn of a loop, or call of a macro, after the deadline.

    Also where it has written too much: blocks that are kept in memory for a while count, too.
    """

    deadline: float = 0.0
    n_written: int = 0  # characters

    def write(self, value: Any) -> Any:
        self.n_written += len(value) if type(value) is str else 0
        if self.n_written > _MOST_WRITTEN:
            raise OverflowError("the template writes too much")
        return value

    def tick(self) -> str:
        if time.monotonic() > self.deadline:
            raise _TooLongError
        return ""


@final
class TracedTemplate:
    """A compiled template with one context for all its runs, which only one may have at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._context = compiled.new_context({})
        self._globals = dict(self._context.parent)

    def pieces(self, given: Mapping[str, Any]) -> Iterator[str]:
        """Write with these variables, piece by piece."""
        context = self._context
        context.parent = {**self._globals, **given}
        context.vars = {}
        context.exported_vars = set()
        pieces: Iterator[str] = self._compiled.root_render_func(context)
        return pieces


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
    traced
        The same template, reporting what it reads ahead, with what takes the reports; None where
        that says nothing of a conversation's beginnings.
    """

    compiled: Any
    clock: _Clock
    variables: frozenset[str] = field(default_factory=frozenset)
    asks_for_date: bool = False
    traced: tuple[TracedTemplate, Trace] | None = None

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
        with self._limited():
            return str(self.compiled.render(_given(messages, tools, arguments, prompt=prompt)))

    def beginnings(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        arguments: Mapping[str, Any],
    ) -> Beginnings | None:
        """Return the text of a conversation that also tells those of its beginnings, or None.

        Raises `ExampleFailure` as `render` does.
        """
        if self.traced is None:
            return None
        template, trace = self.traced
        with self._limited():
            pieces = template.pieces(_given(messages, tools, arguments, prompt=False))
            return trace.follow(template_limits.in_bounds(pieces), len(messages))

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

        given = _given(messages, tools, arguments, prompt=False)
        with self._limited(), self.compiled.environment.activate_tracker(blocks, spans):
            blocks.extend(template_limits.in_bounds(self.compiled.generate(given)))
        return "".join(blocks), list(spans)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Give a template its time, and say what it raises as a failure of the example."""
        self.clock.deadline, self.clock.n_written = time.monotonic() + LIMIT_S, 0
        try:
            yield
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


def source_of(tokenizer: Any, tools: Sequence[Any] | None) -> str:
    """Return the source of a tokenizer's template, for conversations with or without tools.

    Raises `ModelError` for several templates of which none is the default.
    """
    try:
        return str(tokenizer.get_chat_template(tools=tools))
    except ValueError as error:
        names = ", ".join(sorted(tokenizer.chat_template or ()))
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has several chat templates ({names}), and none of "
            "them is the default; write the one to use into a file, and give it with --chat-template FILE"
        ) from error


@lru_cache(maxsize=64)
def compile_template(source: str) -> TemplateCode:
    """Compile a template, and put a check of the time into each of its loops and macros.

    Raises `ModelError` with the line for a template that is not valid Jinja.
    """
    try:
        return _compile(source)
    except (RecursionError, MemoryError, SyntaxError) as error:  # of what it is compiled to
        raise ModelError(
            "the chat template is nested too deeply to be compiled; correct it, or pass another with "
            "--chat-template FILE"
        ) from error


def _compile(source: str) -> TemplateCode:
    from jinja2 import TemplateSyntaxError, meta, nodes, pass_context
    from transformers.utils import chat_template_utils

    from curate.models.text.beginnings.foresight import report_foresight

    compile_as_transformers: Any = chat_template_utils._cached_compile_jinja_template
    digest = hashlib.blake2b(source.encode("utf-8", "surrogatepass")).hexdigest()
    # an environment of its own: that of the source itself would compute its constants first
    environment = compile_as_transformers(f"{{# {digest} #}}").environment
    clock = _Clock()
    template_limits.limit(environment, clock.tick)
    try:
        tree = environment.parse(source)
        environment.compile(environment.parse(source))
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is not valid Jinja: line {error.lineno}: {error.message}; "
            "correct it, or pass another with --chat-template FILE"
        ) from error
    _refuse_chance(tree)
    variables = frozenset(meta.find_undeclared_variables(tree))
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    asks = any(node.name == _CLOCK for node in tree.find_all(nodes.Name))
    environment.globals[_CLOCK] = _fixed_date
    environment.filters[template_limits.WRITTEN] = pass_context(lambda _, value: clock.write(value))
    environment.filters[_TICK] = pass_context(lambda _context, _value: clock.tick())
    ahead = environment.parse(source)
    trace = Trace()
    traced = None
    if report_foresight(ahead):
        environment.filters.update(trace.filters)
        traced = (TracedTemplate(_compiled(environment, ahead)), trace)
    return TemplateCode(_compiled(environment, tree), clock, variables - own - _GIVEN, asks, traced)


def _refuse_chance(tree: Any) -> None:
    """Raise `ModelError` for a template whose texts would differ from run to run."""
    from jinja2 import nodes

    if any(node.name == _CHANCE for node in tree.find_all(nodes.Filter)):
        raise ModelError(
            f"the chat template draws at random (by the filter {_CHANCE!r}), so that no text is written the "
            "same twice; take it out, or pass another with --chat-template FILE"
        )


def _compiled(environment: Any, tree: Any) -> Any:
    """Compile a tree whose loops and macros look at the time."""
    from jinja2 import nodes

    tree = template_limits.bounded(tree)
    for node in tree.find_all((nodes.For, nodes.Macro)):
        # a filter: it passes the sandbox by, and no template can set its name to something else
        tick = nodes.Filter(nodes.Const(None), _TICK, [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(tick))
    nodes.Template.set_environment(tree, environment)
    tree.set_lineno(1)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.globals)


def _given(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    arguments: Mapping[str, Any],
    *,
    prompt: bool,
) -> dict[str, Any]:
    """Return the variables of a template; a conversation's own arguments go first."""
    own: Mapping[str, Any] = {}
    if messages and TEMPLATE_ARGUMENTS in messages[0]:
        bare = {key: value for key, value in messages[0].items() if key != TEMPLATE_ARGUMENTS}
        own = messages[0][TEMPLATE_ARGUMENTS]
        messages = [bare, *messages[1:]]
    given = {
        "messages": messages,
        "tools": tools,
        "documents": None,
        "add_generation_prompt": prompt,
    }
    return {**arguments, **own, **given}


def _fixed_date(format: str) -> str:
    return FIXED_DATE.strftime(format)
