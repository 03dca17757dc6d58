"""The tokenizer's own chat template: the text of a conversation and its assistant spans."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import Example
from curate.errors import ExampleFailure, ModelError
from curate.models.templates import Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_PREFIX_STABLE: Final = "template_not_prefix_stable"
TEMPLATE_ERROR: Final = "template_error"

_GENERATION: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")


@final
@dataclass(frozen=True, slots=True, eq=False)
class ChatTemplate:
    """Renders conversations with a tokenizer's chat template and finds what the model generates.

    Where the template marks generations with ``{% generation %}`` the marks decide. Otherwise the
    history of each assistant turn, rendered with the generation prompt, must be a prefix of the
    whole text, and so must the history including the turn: what lies between is the turn, its
    end-of-turn marker included. An example whose text breaks this rule (a template that rewrites
    earlier turns, say) fails with ``template_not_prefix_stable``.

    Raises `ModelError` for a tokenizer without a chat template.
    """

    tokenizer: "PreTrainedTokenizerBase"

    def __post_init__(self) -> None:
        if not self.tokenizer.chat_template:
            name = self.tokenizer.name_or_path
            raise ModelError(
                f"the tokenizer of {name!r} has no chat template, and template 'chat' needs one; "
                "use an instruction-tuned model, or pass --template plain"
            )

    def render(self, example: Example, turns: str) -> tuple[str, tuple[Span, ...]]:
        """Return the text, and the spans of all assistant turns or of the last.

        Raises `ExampleFailure` when the template refuses the conversation, or is not prefix-stable.
        """
        tools = [dict(tool) for tool in example.tools] if example.tools else None
        source = self.tokenizer.get_chat_template(tools=tools)
        if _GENERATION.search(source):
            return self._by_marks(example, tools, source, turns)
        return self._by_prefix(example, tools, turns)

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> str:
        """Return the text up to where the assistant's next turn begins.

        Raises `ExampleFailure` when the template refuses the conversation.
        """
        return self._text(messages, [dict(tool) for tool in tools] if tools else None, prompt=True)

    def _by_marks(
        self, example: Example, tools: list[Any] | None, source: str, turns: str
    ) -> tuple[str, tuple[Span, ...]]:
        from transformers.utils import chat_template_utils

        render: Any = chat_template_utils.render_jinja_template

        try:
            texts, spans = render(
                conversations=[_plain(example.messages)],
                tools=tools,
                chat_template=source,
                return_assistant_tokens_mask=True,
                **self.tokenizer.special_tokens_map,
            )
        except Exception as error:  # a template is foreign code and may raise anything
            raise ExampleFailure(TEMPLATE_ERROR) from error
        marked = tuple((int(start), int(end)) for start, end in spans[0])
        return texts[0], marked if turns == "all" else marked[-1:]

    def _by_prefix(
        self, example: Example, tools: list[Any] | None, turns: str
    ) -> tuple[str, tuple[Span, ...]]:
        messages = example.messages
        text = self._text(messages, tools, prompt=False)
        assistant = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        spans = []
        for i in assistant if turns == "all" else assistant[-1:]:
            before = self._text(messages[:i], tools, prompt=True) if i else ""
            last = i == len(messages) - 1
            through = text if last else self._text(messages[: i + 1], tools, prompt=False)
            if not (text.startswith(through) and through.startswith(before)):
                raise ExampleFailure(NOT_PREFIX_STABLE)
            spans.append((len(before), len(through)))
        return text, tuple(spans)

    def _text(
        self, messages: Sequence[Mapping[str, Any]], tools: list[Any] | None, *, prompt: bool
    ) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                _plain(messages), tools=tools, tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # a template is foreign code and may raise anything
            raise ExampleFailure(TEMPLATE_ERROR) from error
        return str(text)


def _plain(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in m.items() if value is not None} for m in messages]
