"""The tokenizer's own chat template: the texts of a conversation, and what in them is generated.

The rule: an assistant turn is scored on exactly what the model has to produce after the generation
prompt of that turn, in the context it would have at inference. See `ChatTemplate`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import Example
from curate.contracts.conversation import is_trained
from curate.errors import ExampleFailure, ModelError
from curate.models.text.beginnings.draft import Draft, Drafts
from curate.models.text.chat_options import ChatOptions
from curate.models.text.masks import (
    CURATE,
    MARKS,
    NOT_PREFIX_STABLE,
    TRL,
    Messages,
    check_marks,
    most_telling,
    training_template,
    whole_row,
)
from curate.models.text.said import (
    REASONING_NOT_RENDERED,
    Form,
    Said,
    content_text,
    forms,
    missing,
    own_tags,
    split_reasoning,
    think_block,
    unsaid,
    whole_forms,
)
from curate.models.text.template_code import (
    TEMPLATE_TIMEOUT,
    TemplateCode,
    compile_template,
    source_of,
)
from curate.models.text.turns import (
    CLOSED_THOUGHT,
    EMPTY_THOUGHT,
    OPENED_THOUGHT,
    ChatRow,
    Context,
    Tail,
    Turn,
    empty_thought,
    merged,
    opens_thought,
    past_last_message,
)
from curate.models.text.whole_chat import LostIn, loss_of, one_text, without_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REASONING_CONTRADICTED: Final = "generation_prompt_closes_reasoning"
CONTROL_TOKEN: Final = "control_token_in_text"

_SENTINEL: Final = "\u2603\u2042\u2603"  # stands for a turn's content where its place is looked for


@final
class ChatTemplate:
    """Renders conversations with a chat template and finds what the model has to produce.

    For assistant turn i the context is the history before it, rendered with the generation prompt;
    what follows it in the history rendered with the turn, up to the end of the turn, is scored. An
    empty think block that the template puts in front of a turn without reasoning, and blanks after
    the end of a turn, belong to the template and are not scored. Where the generation prompt ends
    in words that the rendered turn lacks (it opens a think block, say), the context is the prompt.

    Turns whose text begins with the turn before it, as scored, share a row; a template that
    rewrites history gives the turns after a change a row of their own.

    Everything a conversation says must occur in what is rendered, or the example fails with a
    reason: content, reasoning and tool calls of the scored turns in what they score, the other
    messages in the context. (Tools that a template does not show are not shown at inference either.)

    Parameters
    ----------
    tokenizer
        Gives the template, unless the options have one, and the special tokens.
    options
        Arguments of the template, and what becomes of reasoning it does not write.

    Raises `ModelError` for a tokenizer without a chat template, `ConfigError` for an argument the
    template does not read.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", options: ChatOptions | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.options = options or ChatOptions()
        if not (tokenizer.chat_template or self.options.template):
            name = tokenizer.name_or_path
            raise ModelError(
                f"the tokenizer of {name!r} has no chat template, but template 'chat' needs one; "
                "use an instruction-tuned model, or pass --template plain"
            )
        self._override = self.options.template
        if self.options.from_trl and self._override is None:
            self._override = training_template(tokenizer)
        if self.options.mask == TRL:
            check_marks(self.source(None), tokenizer.name_or_path)
        self._arguments = {**tokenizer.special_tokens_map, **self.options.template_args}
        self._tags = own_tags(self.source(None), tokenizer.get_vocab())
        own = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        special = sorted({*own.values(), *tokenizer.all_special_tokens}, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, special))) if special else None
        self._tail: Tail | None = None
        self._prompts: dict[TemplateCode, dict[str, str]] = {}
        if self.options.template_args:
            self.code(None).check_arguments(self.options.template_args)

    def source(self, tools: Sequence[Any] | None) -> str:
        """Return the template's source, for conversations with or without tools."""
        if self._override is not None:
            return self._override
        return source_of(self.tokenizer, tools)

    def code(self, tools: Sequence[Any] | None) -> TemplateCode:
        """Return the compiled template."""
        return compile_template(self.source(tools))

    def rows(self, example: Example, turns: str) -> tuple[ChatRow, ...]:
        """Return the rows of an example, with the spans of all assistant turns or of the last.

        Raises `ExampleFailure` when the template refuses the conversation, and for anything the
        rows would not show.
        """
        self._check_control(example)
        messages = example.messages
        assistant = [i for i, message in enumerate(messages) if is_trained(message)]
        tools = [dict(tool) for tool in example.tools] if example.tools else None
        ways = forms(messages, self.options.reasoning, self._tags)
        if self.options.mask != CURATE:
            row = whole_row(
                self.options.mask,
                {form: partial(self._written, form, messages, tools) for form in ways},
                messages,
                partial(self.code(tools).render, tools=tools, arguments=self._arguments),
                partial(self.code(tools).marked, tools=tools, arguments=self._arguments),
                partial(self._opening, tools=tools),
            )
            return (ChatRow(row.text, row.spans if turns == "all" else row.spans[-1:]),)
        wanted = assistant if turns == "all" else assistant[-1:]
        drafts = self._drafts(messages[: wanted[-1] + 1] if wanted else (), ways, tools)
        return merged([self._turn(messages, i, tools, drafts) for i in wanted])

    def prompt(self, messages: Messages, tools: Messages | None) -> str:
        """Return the text up to where the assistant's next turn begins.

        Raises `ExampleFailure` when the template refuses the conversation, or does not show all of it.
        """
        return self._in_one(messages, tools, partial(unsaid, messages), prompt=True)

    def whole(self, example: Example) -> str:
        """Return the text of a conversation to its end, all turns as the template writes them.

        Reasoning that the template does not write is left out, unless the options ask for it.
        Raises `ExampleFailure` as `prompt` does.
        """
        lost_in = loss_of(example, self.options.reasoning)
        try:
            return self._in_one(example.messages, example.tools, lost_in, prompt=False)
        except ExampleFailure as failure:
            raise without_words(failure) from failure

    def _in_one(
        self, messages: Messages, tools: Messages | None, lost_in: LostIn, *, prompt: bool
    ) -> str:
        given = [dict(tool) for tool in tools] if tools else None
        ways = whole_forms(messages, self.options.reasoning, self._tags)
        render = partial(self._text, messages=messages, tools=given, prompt=prompt)
        return one_text(ways, render, lost_in)

    def note(self) -> str | None:
        """Say what a user should know about this template, or None."""
        notes = []
        if self.code(None).asks_for_date:
            notes.append("the chat template asks for the date; it is given 1 January 2026")
        if differing := self._differing_marks():
            marked, scored = differing
            notes.append(
                "the chat template's {% generation %} marks differ from what the model has to "
                f"produce ({marked!r} against {scored!r}) and are not used"
            )
        return "; ".join(notes) or None

    def changes(self) -> str:
        """Say what this template scores otherwise than version 0.1 did, or ""; a part of score keys.

        Then marks decided, what follows the end of a turn was scored unless it was blank and the end
        a special token, and the arguments of tool calls were rendered as the text they came as.
        """
        changed = []
        if "tool_calls" in self.source(None):
            changed.append("arguments of tool calls are objects")
        if self._differing_marks():
            changed.append("generation marks are not used")
        tail = self._find_tail()
        blanks = tail.text.strip() and tail.text != tail.text.rstrip() and not tail.after
        if tail.after.strip() or blanks:
            changed.append("what follows the end of a turn is not scored")
        return "; ".join(changed)

    def _differing_marks(self) -> tuple[str, str] | None:
        """Return what the template marks as generated and what is scored, where they differ."""
        if self.options.mask != CURATE or not MARKS.search(self.source(None)):
            return None
        conversation = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            text, spans = self.code(None).marked(conversation, None, self._arguments)
            marked = [text[start:stop] for start, stop in spans]
            (row,) = self.rows(Example("", tuple(conversation)), "all")
        except Exception:  # noqa: BLE001 - foreign code; what fails here fails per example
            return None
        scored = [row.text[start:stop].strip() for start, stop in row.spans]
        if not marked or [text.strip() for text in marked] == scored:
            return None
        return marked[0], scored[0]

    def _check_control(self, example: Example) -> None:
        """Refuse special tokens in what others than the assistant wrote: they would take control."""
        if self._control is None:
            return
        for message in example.messages:
            if message["role"] != "assistant" and self._control.search(content_text(message)):
                raise ExampleFailure(CONTROL_TOKEN)

    def _drafts(
        self, messages: Sequence[Mapping[str, Any]], ways: Sequence[Form], tools: list[Any] | None
    ) -> Drafts:
        """Return a conversation in each form, rendered once it is asked for."""
        code = self.code(tools)
        prompts = self._prompts.setdefault(code, {})
        source = self.source(tools)
        return Drafts(ways, Draft(messages, source, code, tools, self._arguments, prompts))

    def _turn(
        self,
        messages: Sequence[Mapping[str, Any]],
        i: int,
        tools: list[Any] | None,
        drafts: Drafts,
    ) -> Turn:
        """Return a turn under the first form that loses nothing."""
        failures: list[ExampleFailure] = []
        for draft in drafts:
            try:
                return self._in_form(draft, messages, i, tools)
            except ExampleFailure as failure:
                failures.append(failure)
                if failure.reason == TEMPLATE_TIMEOUT:
                    break
        if self.options.reasoning == "inline" and Said.of(messages[i]).reasoning:
            return self._spliced(messages, i, tools)
        raise most_telling(failures)

    def _in_form(
        self, draft: Draft, messages: Sequence[Mapping[str, Any]], i: int, tools: list[Any] | None
    ) -> Turn:
        said = Said.of(messages[i])
        if draft.form.reasoning == "drop":
            said = Said("", said.content, said.calls)
        full = draft.text(i + 1)
        prompt = draft.prompt(i) if i else self._opening(draft.written(1), full, tools)
        context = (
            Context(prompt, prompt)
            if full.startswith(prompt)
            else self._context(draft.written(i + 1), full, prompt, tools, said)
        )
        text, body = context.text, full[len(context.taken) :]
        if not said.reasoning and not opens_thought(messages[i]):
            # An empty think block in front of a turn is context, as a prompt would have it.
            empty = empty_thought(body, messages[i])
            text, body = context.with_empty(empty), body[len(empty) :]
        if lost := missing(said, body):
            raise ExampleFailure(lost)
        if said.reasoning and CLOSED_THOUGHT.search(text):
            raise ExampleFailure(REASONING_CONTRADICTED)
        if lost := draft.unsaid(i, text):
            raise ExampleFailure(lost)
        return self._cut(text, body)

    def _context(
        self,
        written: list[dict[str, Any]],
        full: str,
        prompt: str,
        tools: list[Any] | None,
        said: Said,
    ) -> Context:
        """Find where a turn begins whose rendering lacks the end of the prompt, and its context."""
        turn: dict[str, Any] = {"role": "assistant", "content": _SENTINEL}
        if isinstance(written[-1].get("content"), list):
            turn["content"] = [{"type": "text", "text": _SENTINEL}]
        probe = self._render([*written[:-1], turn], tools, prompt=False)
        header = commonprefix([prompt, probe])
        rest = full[len(header) :]
        thought = EMPTY_THOUGHT.match(rest)
        after = rest[thought.end() :] if thought else rest
        begins = full.startswith(header) and after.lstrip().startswith(said.content[:20])
        if header and begins and not said.reasoning:
            return Context(header, prompt)
        if taken := past_last_message(written, prompt, full):
            return Context(taken, prompt)
        if not said.reasoning:
            raise ExampleFailure(NOT_PREFIX_STABLE)
        # The prompt says something that this turn, with its reasoning, does not begin with.
        if said.reasoning not in full[len(header) :]:
            raise ExampleFailure(REASONING_NOT_RENDERED)
        closed = CLOSED_THOUGHT.search(prompt)
        raise ExampleFailure(REASONING_CONTRADICTED if closed else NOT_PREFIX_STABLE)

    def _opening(self, written: list[dict[str, Any]], full: str, tools: list[Any] | None) -> str:
        """Return the history of the last message, rendered with the generation prompt."""
        history = written[:-1]
        if history:
            return self._render(history, tools, prompt=True)
        # Few templates render no messages at all: what the prompt adds to a user's turn is looked for.
        user = [{"role": "user", "content": "a"}]
        without = self._render(user, tools, prompt=False)
        asked = self._render(user, tools, prompt=True)
        added = asked[len(without) :] if asked.startswith(without) else ""
        at = full.find(added) if added else -1
        if at < 0:
            raise ExampleFailure(NOT_PREFIX_STABLE)
        return full[: at + len(added)]

    def _spliced(
        self, messages: Sequence[Mapping[str, Any]], i: int, tools: list[Any] | None
    ) -> Turn:
        """Put reasoning in front of a turn that was rendered without it."""
        reasoning, content = split_reasoning(messages[i])
        bare = {k: v for k, v in messages[i].items() if k != "reasoning_content"}
        without = [*messages[:i], {**bare, "content": content}]
        ways = forms(without, "drop", self._tags)
        turn = self._turn(without, i, tools, self._drafts(without[: i + 1], ways, tools))
        context, body = turn.text[: turn.start], turn.text[turn.start :]
        block = think_block(reasoning, self._tags)
        prompt = self._text(Form("drop"), messages[:i], tools, prompt=True) if i else ""
        if CLOSED_THOUGHT.search(prompt):
            raise ExampleFailure(REASONING_CONTRADICTED)
        if empty := CLOSED_THOUGHT.search(context):
            context = context[: empty.start()]
        if opened := OPENED_THOUGHT.search(prompt):
            context, block = context + opened[0], block.removeprefix(self._tags[0]).lstrip("\n")
        return self._cut(context, block + body)

    def _cut(self, context: str, body: str) -> Turn:
        """End a turn at its end marker: blanks and what else comes after it are not the model's."""
        if self._tail is None:
            self._tail = self._find_tail()
        stop = len(body)
        if self._tail.after and body.endswith(self._tail.text):
            stop -= len(self._tail.after)
        elif self._tail.text.strip():
            stop = len(body.rstrip())
        return Turn(context + body, len(context), len(context) + stop)

    def _find_tail(self) -> Tail:
        """Look up what the template writes after the content of a last turn."""
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SENTINEL}]
        try:
            text = self._render(probe, None, prompt=False)
        except ExampleFailure:  # a template that refuses this; most end a turn with a marker
            return Tail(".", "")
        tail = text.rpartition(_SENTINEL)[2]
        ends = self._control and re.match(rf"\s*(?:{self._control.pattern})+(?=\s)", tail)
        return Tail(tail, tail[ends.end() :] if ends else "")

    def _text(
        self, form: Form, messages: Messages, tools: list[Any] | None, *, prompt: bool
    ) -> str:
        return self._render(self._written(form, messages, tools), tools, prompt=prompt)

    def _written(
        self, form: Form, messages: Sequence[Mapping[str, Any]], tools: list[Any] | None
    ) -> list[dict[str, Any]]:
        return form.write(messages, self.source(tools))

    def _render(
        self, written: Sequence[Mapping[str, Any]], tools: list[Any] | None, *, prompt: bool
    ) -> str:
        return self.code(tools).render(written, tools, self._arguments, prompt=prompt)
