"""What names a chat template in score keys and training records."""

from dataclasses import replace
from typing import TYPE_CHECKING

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
    if (isinstance(template, str) or "default" in template) and (
        changes := ChatTemplate(tokenizer, options).changes()
    ):
        parts.append(changes)
    return text_hash("\n".join(parts))
