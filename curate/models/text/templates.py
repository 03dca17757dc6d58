"""Text templates: how a conversation becomes one string, and where its assistant turns are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

from curate.contracts import Example
from curate.contracts.conversation import is_trained
from curate.errors import ConfigError, ExampleFailure, did_you_mean
from curate.models.text.said import answer_start, content_text

Part: TypeAlias = Literal["full", "prompt", "response"]

CHAT: Final = "chat"
METHOD: Final = "method"

INPUT_SEPARATOR: Final = "\n\n"  # between an instruction and its input in one message

Span = tuple[int, int]  # [start, end) in characters


@final
@dataclass(frozen=True, slots=True)
class TextTemplate:
    """How each role is written, and the text between two turns.

    Every turn of a conversation is written in order, so multi-turn histories, system messages and
    tool results are rendered by all templates. In a pattern ``{}`` stands for the turn's text (see
    `turn_text`). Only that text of an assistant turn is ever scored, never the words around it.

    Parameters
    ----------
    name
        Its name in ``--template`` and the score key.
    user, assistant, system, tool
        Pattern per role.
    joiner
        Text between two turns.
    header
        First block of a conversation without a system message, or "". A system message replaces it.
    user_with_input
        Pattern of the last user turn where the row has an input besides its instruction, with ``{}``
        for each, or "" to write the two as they are joined in the message.
    header_with_input
        ``header`` of a conversation with an input, or "" for the same.
    """

    name: str
    user: str
    assistant: str
    joiner: str
    system: str = "{}"
    tool: str = "Tool: {}"
    header: str = ""
    user_with_input: str = ""
    header_with_input: str = ""

    def render(self, example: Example) -> tuple[str, tuple[Span, ...]]:
        """Return the text of a whole conversation and the span of each trained turn's own text.

        Raises `ExampleFailure` for content that has no text form.
        """
        pieces: list[str] = []
        spans: list[Span] = []
        length = 0

        def write(text: str) -> None:
            nonlocal length
            pieces.append(text)
            length += len(text)

        blocks = [
            *((role, text, False) for role, text in self._opening(example)),
            *self._turns(example),
        ]
        for number, (role, text, trained) in enumerate(blocks):
            before, _, after = self._pattern(role).partition("{}")
            write((self.joiner if number else "") + before)
            if trained:
                spans.append((length, length + len(text)))
            write(text)
            write(after)
        return "".join(pieces), tuple(spans)

    def _opening(self, example: Example) -> list[tuple[str, str]]:
        opening = []
        header = self.header
        if self._writes_input(example):
            header = self.header_with_input or header
        if header and all(m["role"] != "system" for m in example.messages):
            opening.append(("header", header))
        if example.tools:
            opening.append(("header", f"Tools: {_json(list(example.tools))}"))
        return opening

    def _writes_input(self, example: Example) -> bool:
        return bool(self.user_with_input) and example.input_at is not None

    def _turns(self, example: Example) -> list[tuple[str, str, bool]]:
        turns = [(m["role"], turn_text(m), is_trained(m)) for m in example.messages]
        if example.input_at is not None and self.user_with_input:
            asked = turns[-2][1]
            given = asked[example.input_at :]
            instruction = asked[: example.input_at].removesuffix(INPUT_SEPARATOR)
            before, between, after = self.user_with_input.split("{}")
            turns[-2] = ("written", f"{before}{instruction}{between}{given}{after}", False)
        return turns

    def _pattern(self, role: str) -> str:
        patterns = {
            "user": self.user,
            "assistant": self.assistant,
            "system": self.system,
            "tool": self.tool,
            "header": "{}",
            "written": "{}",
        }
        if role not in patterns:
            raise ExampleFailure("unknown_role")
        return patterns[role]


def turn_text(message: Mapping[str, Any]) -> str:
    """Return everything a text template shows of one message.

    Reasoning comes first, then the content (text parts concatenated), then tool calls as JSON,
    one block per line. Raises `ExampleFailure` for parts that are not text, such as images.
    """
    blocks = [message.get("reasoning_content") or "", content_text(message)]
    if message.get("tool_calls"):
        blocks.append(_json(message["tool_calls"]))
    return "\n".join(block for block in blocks if block)


def answer_text(message: Mapping[str, Any]) -> str | None:
    """Return `turn_text` without the reasoning; None where a thought in the content never ends."""
    content = content_text(message)
    start = answer_start(content)
    if start is None:
        return None
    return turn_text({**message, "reasoning_content": None, "content": content[start:]})


def history_and_response(example: Example) -> tuple[str, str]:
    """Return everything before the last turn as plain text, and the text of the last turn.

    Raises `ExampleFailure` for content that has no text form.
    """
    history = Example(example.id, example.messages[:-1], example.tools)
    return text_template("plain").render(history)[0], turn_text(example.messages[-1])


def part_of(example: Example, part: Part) -> str:
    """Return a part of an example as plain text: the history, the last turn, or both on lines of their own."""
    return text_of_part(*history_and_response(example), part)


def text_of_part(history: str, response: str, part: Part) -> str:
    """Return a part of what `history_and_response` gives."""
    if part == "full":
        return f"{history}\n{response}"
    return history if part == "prompt" else response


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


_ALPACA_HEADER: Final = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
_ALPACA_INPUT_HEADER: Final = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)

TEMPLATES: Final[Mapping[str, TextTemplate]] = {
    template.name: template
    for template in (
        # The scoring prompt as printed in arXiv 2502.04194, with a space on either side of the
        # line break, and the same without those spaces, which may be an artefact of typesetting.
        TextTemplate("grape", user="Question: {}", assistant="Answer: {}", joiner=" \n "),
        TextTemplate("grape-compact", user="Question: {}", assistant="Answer: {}", joiner="\n"),
        TextTemplate(
            "alpaca",
            user="### Instruction:\n{}",
            assistant="### Response:{}",
            joiner="\n\n",
            tool="### Tool:\n{}",
            header=_ALPACA_HEADER,
        ),
        # Both forms of the Alpaca prompt; "alpaca" joins an input to its instruction by a blank line.
        TextTemplate(
            "alpaca-input",
            user="### Instruction:\n{}",
            assistant="### Response:{}",
            joiner="\n\n",
            tool="### Tool:\n{}",
            header=_ALPACA_HEADER,
            user_with_input="### Instruction:\n{}\n\n### Input:\n{}",
            header_with_input=_ALPACA_INPUT_HEADER,
        ),
        # The default of the official script of arXiv 2402.00530: the texts alone, a line each.
        TextTemplate(
            "superfiltering",
            user="{}",
            assistant="{}",
            joiner="\n",
            tool="{}",
            user_with_input="{}\n{}",
        ),
        TextTemplate("codeact", user="Question:\n{}", assistant="Answer:\n{}", joiner="\n\n"),
        TextTemplate("plain", user="{}", assistant="{}", joiner="\n", tool="{}"),
    )
}


def text_template(name: str) -> TextTemplate:
    """Return a text template by name; raise `ConfigError` with the known names for any other."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    known = [*TEMPLATES, CHAT]
    hint = did_you_mean(name, known)
    raise ConfigError(f"no template {name!r}{hint}; choose one of: {', '.join(known)}")


def scored_spans(spans: Sequence[Span], turns: str) -> tuple[Span, ...]:
    """Keep the assistant turns that count: ``all`` of them, or the ``last``."""
    return tuple(spans) if turns == "all" else tuple(spans[-1:])
