"""What names a chat template in score keys and training records."""

from dataclasses import replace
from typing import TYPE_CHECKING

from curate.contracts import Example
from curate.errors import ExampleFailure
from curate.models.files import text_hash
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.masks import CURATE
from curate.models.text.said import THINK_TAGS
from curate.models.text.template_code import FIXED_DATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def chat_hash(tokenizer: "PreTrainedTokenizerBase", options: ChatOptions) -> str | None:
    """Hash a chat template's source, and what else decides the texts it gives and what is scored.

    A date stands for the clock that some templates read. Templates that version 0.1 scored otherwise
    have another hash than they had then.
    """
    template = options.template or tokenizer.chat_template
    if not template:
        return None
    options = replace(options, mask=CURATE)  # a mask has a part of keys of its own
    if options.from_trl and options.template is None:
        template = ChatTemplate(tokenizer, options).source(None)
    source = template if isinstance(template, str) else repr(template)
    parts = [source]
    if "strftime_now" in source:
        parts.append(f"{FIXED_DATE:%Y-%m-%d}")
    if any(close in source for _, close in THINK_TAGS):
        parts.append("empty think blocks are context")
    if isinstance(template, str) or "default" in template:
        chat = ChatTemplate(tokenizer, options)
        if changes := chat.changes():
            parts.append(changes)
        if len(parts) == 1 and _splits_turns(chat):
            parts.append("turns whose history is rewritten have rows of their own")
    return text_hash("\n".join(parts))


def _splits_turns(chat: ChatTemplate) -> bool:
    """Whether some turns have rows of their own; 0.1 stored their examples as failures.

    Templates that have another hash than they had then for another reason are told apart by it.
    """
    turns = [{"role": role, "content": role} for role in ("user", "assistant") * 2]
    for talk in (turns, [{"role": "system", "content": "system"}, *turns]):
        try:
            if len(chat.rows(Example("", tuple(talk)), "all")) > 1:
                return True
        except ExampleFailure:
            continue
    return False
