"""What a message says, how a chat template may be given it, and whether all of it was written."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, final

from curate.contracts import Example
from curate.contracts.conversation import WEIGHT
from curate.errors import ExampleFailure

CONTENT_NOT_RENDERED: Final = "content_not_rendered"
REASONING_NOT_RENDERED: Final = "reasoning_not_rendered"
TOOL_CALL_NOT_RENDERED: Final = "tool_call_not_rendered"
MESSAGE_NOT_RENDERED: Final = "message_not_rendered"

Message = Mapping[str, Any]

# Pairs of think tags in the field; a model's own are those its template or vocabulary knows.
THINK_TAGS: Final = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<reasoning>", "</reasoning>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_TAG: Final = re.compile(
    f"(?P<opens>{'|'.join(re.escape(opening) for opening, _ in THINK_TAGS)})"
    f"|{'|'.join(re.escape(closing) for _, closing in THINK_TAGS)}"
)
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")  # of a call, as people name them
_QUOTES: Final = ("'", '"', "`")
_OPENING: Final = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: the function's name, and its arguments as an object where they are one."""

    name: str
    arguments: Any


@final
@dataclass(frozen=True, slots=True)
class Said:
    """What an assistant message says: reasoning, content and calls, blanks around them cut off."""

    reasoning: str
    content: str
    calls: tuple[Call, ...]

    @classmethod
    def of(cls, message: Message) -> "Said":
        """Read a canonical message; ``<think>...</think>`` that opens the content is reasoning.

        Raises `ExampleFailure` for content that is not text.
        """
        reasoning, content = split_reasoning(message)
        calls = tuple(_call(call) for call in message.get("tool_calls") or ())
        return cls(reasoning.strip(), content.strip(), calls)


@final
@dataclass(frozen=True, slots=True)
class Form:
    """One way to give a conversation to a template; the first under which nothing is lost is used.

    Parameters
    ----------
    reasoning
        ``own``: as the row has it. ``split``: think tags in the content become
        ``reasoning_content``. ``drop``: left out. ``inline``: in ``tags`` before the content.
    text_arguments
        Whether the arguments of tool calls are JSON text instead of objects.
    parts
        Whether content is a list of one text part instead of text.
    empty
        Whether a message without content has an empty one instead of none.
    tags
        The model's own think tags.
    """

    reasoning: str = "own"
    text_arguments: bool = False
    parts: bool = False
    empty: bool = False
    tags: tuple[str, str] = THINK_TAGS[0]

    def write(self, messages: Sequence[Message], source: str) -> list[dict[str, Any]]:
        """Return fresh messages as a template with this source reads them."""
        return [self._message(message, source) for message in messages]

    def _message(self, message: Message, source: str) -> dict[str, Any]:
        out = {k: value for k, value in message.items() if value is not None and k != WEIGHT}
        if message["role"] == "assistant":
            reasoning, content = split_reasoning(message)
            if self.reasoning == "own":
                reasoning = message.get("reasoning_content") or ""
                content = content_text(message)
            out.pop("reasoning_content", None)
            if reasoning and self.reasoning == "inline":
                content = think_block(reasoning, self.tags) + content
            elif reasoning and self.reasoning != "drop":
                out |= {"thinking": reasoning, "reasoning_content": reasoning}  # as transformers
                if "reasoning_content" not in source and "thinking" not in source:
                    out["reasoning"] = reasoning
        else:
            content = content_text(message)
        if "content" in out or content or self.empty:
            out["content"] = [{"type": "text", "text": content}] if self.parts else content
        if message.get("tool_calls"):
            out["tool_calls"] = [self._tool_call(call) for call in message["tool_calls"]]
        return out

    def _tool_call(self, call: Message) -> dict[str, Any]:
        out = dict(call)
        holder = dict(out["function"]) if isinstance(out.get("function"), Mapping) else out
        if "arguments" in holder:
            decoded = _decoded(holder["arguments"])
            holder["arguments"] = (
                decoded
                if not self.text_arguments or isinstance(decoded, str)
                else json.dumps(decoded, ensure_ascii=False)
            )
        if holder is not out:
            out["function"] = holder
        return out


def forms(messages: Sequence[Message], choice: str | None, tags: tuple[str, str]) -> Sequence[Form]:
    """Return the ways to write a conversation, the one that templates expect first."""
    calls = gaps = thoughts = closed = False
    for message in messages:
        calls = calls or bool(message.get("tool_calls"))
        gaps = gaps or message.get("content") is None
        if message["role"] == "assistant":
            closed = closed or "</think>" in content_text(message)
            thoughts = thoughts or bool(split_reasoning(message)[0])
    return _forms(_ways(choice, thoughts=thoughts, closed=closed), gaps, calls, tags)


def whole_forms(
    messages: Sequence[Message], choice: str | None, tags: tuple[str, str]
) -> Sequence[Form]:
    """Return the ways to write a conversation whose turns are not told apart: as the row has it first."""
    calls = any(message.get("tool_calls") for message in messages)
    gaps = any(message.get("content") is None for message in messages)
    ways = {"drop": ("drop",), "inline": ("own", "inline")}.get(choice or "", ("own",))
    return _forms(ways, gaps, calls, tags)


@lru_cache(maxsize=256)
def _forms(
    ways: tuple[str, ...], has_gaps: bool, has_calls: bool, tags: tuple[str, str]
) -> Sequence[Form]:
    return tuple(
        Form(way, text_arguments, parts, empty, tags)
        for parts in (False, True)
        for empty in ((False, True) if has_gaps else (False,))
        for text_arguments in ((False, True) if has_calls else (False,))
        for way in ways
    )


def _ways(choice: str | None, *, thoughts: bool, closed: bool) -> tuple[str, ...]:
    if choice == "drop" and thoughts:
        return ("drop",)
    ways = ("split", "own") if closed else ("own",)
    return (*ways, "inline") if choice == "inline" and thoughts else ways


def content_text(message: Message) -> str:
    """Return the content of a message as text, its text parts joined.

    Raises `ExampleFailure` for parts that are not text, such as images.
    """
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(_part_text(part) for part in content)


def split_reasoning(message: Message) -> tuple[str, str]:
    """Return the reasoning and the content of a message, think tags taken off the content."""
    content = content_text(message)
    reasoning = message.get("reasoning_content") or ""
    if not reasoning and "</think>" in content and (opening := _OPENING.match(content)):
        return opening[1].strip(), content[opening.end() :]
    return reasoning, content


def answer_start(text: str) -> int | None:
    """Return where the answer of a written text begins: after its last thought, 0 without one.

    The thought may have been opened by the prompt. None where one never ends: there is no answer. A tag
    in quotation marks is only spoken of, as in a program that takes thoughts away.

    Examples
    --------
    >>> answer_start("<think>3?</think>4"), answer_start("4"), answer_start("<think>I see, so")
    (17, 0, None)
    """
    start, is_open = 0, False
    for tag in _TAG.finditer(text):
        before, after = text[max(tag.start() - 1, 0) : tag.start()], text[tag.end() : tag.end() + 1]
        quotes = (before in _QUOTES, after in _QUOTES)
        if tag["opens"]:
            is_open = is_open or not (quotes[0] or (quotes[1] and before.strip()))
        elif is_open or not any(quotes):
            start, is_open = tag.end(), False
    return None if is_open else start


def without_reasoning(example: Example) -> Example:
    """Return an example without the reasoning of its assistant turns."""
    messages: list[Message] = []
    for message in example.messages:
        reasoning, content = (
            ("", "") if message["role"] != "assistant" else split_reasoning(message)
        )
        if reasoning:
            bare = {k: v for k, v in message.items() if k not in ("reasoning_content", "content")}
            messages.append({**bare, "content": content})
        else:
            messages.append(message)
    return replace(example, messages=tuple(messages))


def think_block(reasoning: str, tags: tuple[str, str]) -> str:
    """Return reasoning between think tags, as it stands in front of the content."""
    return f"{tags[0]}\n{reasoning.strip()}\n{tags[1]}\n\n"


def own_tags(source: str, vocabulary: Mapping[str, Any]) -> tuple[str, str]:
    """Return a model's think tags: those its template writes, else those it has tokens for."""
    for tags in THINK_TAGS:
        if tags[0] in source or tags[1] in source:
            return tags
    for tags in THINK_TAGS:
        if tags[0] in vocabulary and tags[1] in vocabulary:
            return tags
    return THINK_TAGS[0]


def missing(said: Said, response: str) -> str | None:
    """Return the reason why a response does not say all of a message, or None if it does.

    Reasoning, content and calls must stand one after the other.
    """
    at = 0
    for text, reason in (
        (said.reasoning, REASONING_NOT_RENDERED),
        (said.content, CONTENT_NOT_RENDERED),
    ):
        if text:
            at = _end_of(text, response, at)
            if at < 0:
                return reason
    return None if _has_calls(said, response, at) else TOOL_CALL_NOT_RENDERED


def unsaid(messages: Sequence[Message], context: str) -> str | None:
    """Return the reason why a context does not show all of a history, or None if it does.

    What the assistant said before is not looked for: a template may take reasoning out of it.
    """
    for message in messages:
        if message["role"] == "assistant":
            continue
        text = content_text(message).strip()
        if text and _end_of(text, context, 0) < 0:
            decoded = _decoded(text)
            if isinstance(decoded, str) or not _has_leaves(decoded, context):
                return MESSAGE_NOT_RENDERED
    return None


def _has_calls(said: Said, response: str, start: int) -> bool:
    at = start
    for call in said.calls:
        at = response.find(call.name, at)
        if at < 0:
            break
        at += len(call.name)
    else:
        return all(_has_arguments(call.arguments, response[start:]) for call in said.calls)
    names = [call.name for call in said.calls]  # some templates write calls before the content
    return all(name in response[:start] for name in names) and all(
        _has_arguments(call.arguments, response) for call in said.calls
    )


def _has_arguments(arguments: Any, text: str) -> bool:
    if isinstance(arguments, str):
        return _end_of(arguments.strip(), text, 0) >= 0
    python = repr(arguments)  # a template that prints the object itself writes Python, not JSON
    if python != json.dumps(arguments, ensure_ascii=False) and len(python) > 2 and python in text:
        return False
    return _has_leaves(arguments, text)


def _has_leaves(value: Any, text: str) -> bool:
    """Whether all keys and values of a JSON value occur in a text."""
    if isinstance(value, Mapping):
        return all(str(k) in text and _has_leaves(v, text) for k, v in value.items())
    if isinstance(value, list):
        return all(_has_leaves(item, text) for item in value)
    if isinstance(value, str):
        return _end_of(value.strip(), text, 0) >= 0
    return json.dumps(value) in text or str(value) in text


def _end_of(wanted: str, text: str, start: int) -> int:
    """Return where some text ends in another, as it is or escaped or with other blanks, or -1."""
    at = text.find(wanted, start)
    if at >= 0:
        return at + len(wanted)
    escaped = (
        json.dumps(wanted, ensure_ascii=False)[1:-1],
        json.dumps(wanted)[1:-1],
        html.escape(wanted),
        html.escape(wanted, quote=False),
    )
    for form in escaped:
        if form != wanted and (at := text.find(form, start)) >= 0:
            return at + len(form)
    words = wanted.split()
    if len(words) < 2:
        return -1
    # First and last word bound the search, so that a long text costs one scan.
    if text.find(words[0], start) < 0 or text.find(words[-1], start) < 0:
        return -1
    match = re.compile(r"\s+".join(map(re.escape, words))).search(text, start)
    return match.end() if match else -1


def _call(call: Message) -> Call:
    function = call.get("function")
    holder = function if isinstance(function, Mapping) else call
    arguments: Any = next((holder[key] for key in _ARGUMENTS if holder.get(key)), {})
    return Call(str(holder.get("name") or ""), _decoded(arguments))


def _decoded(value: Any) -> Any:
    """Return JSON text of an object or a list decoded, and anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _part_text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(text, str):
        raise ExampleFailure("content_is_not_text")
    return text
