"""Prompts that a model continues: from messages to token ids, by the chat template or a text template."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from curate.contracts import Example
from curate.errors import ExampleFailure
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import NOT_UNICODE
from curate.models.text.templates import CHAT, text_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]


@final
class Prompter:
    """Turns the messages before an answer into the token ids a model continues.

    Parameters
    ----------
    tokenizer
        Its own special tokens come in front of a text template; a chat template writes them itself.
    template
        ``chat``, or a text template, whose words in front of an answer end the prompt.
    chat
        How conversations go through a chat template, or None for the defaults.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: str,
        chat: ChatOptions | None = None,
    ) -> None:
        self.tokenizer: Any = tokenizer
        self._chat = ChatTemplate(tokenizer, chat) if template == CHAT else None
        self._text = None if template == CHAT else text_template(template)
        encoded = self.tokenizer("a", return_special_tokens_mask=True)
        mask = encoded["special_tokens_mask"]
        self._lead = encoded["input_ids"][: mask.index(0)] if 0 in mask else []

    def ids(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        opening: str = "",
    ) -> list[int]:
        """Return the ids of a prompt; ``opening`` is a given beginning of the answer.

        Raises `ExampleFailure` for messages that have no text form.
        """
        ids = self.text_ids(self.text(messages, tools, opening))
        return ids[len(self._lead) :] if self._chat else ids

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a text that is continued as it is, after what the tokenizer prepends.

        Raises `ExampleFailure` for text that is no Unicode.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ExampleFailure(NOT_UNICODE) from error
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return [*self._lead, *ids]

    def text(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        opening: str = "",
    ) -> str:
        """Return the text of a prompt, without what the tokenizer prepends."""
        if self._chat is not None:
            return self._chat.prompt(messages, tools) + opening
        assert self._text is not None
        answer = {"role": "assistant", "content": ""}
        text, spans = self._text.render(
            Example("", (*messages, answer), tuple(tools) if tools else None)
        )
        start = text[: spans[-1][0]]
        return start + opening if opening else start.rstrip(" ")  # tokens begin with their space
