"""A whole conversation by the tokenizer's chat template, for models that read it to its end."""

from typing import Any

from curate.contracts import Example
from curate.errors import ExampleFailure


def whole_chat(tokenizer: Any, example: Example) -> str:
    """Return the text of a conversation, all turns as the template writes them.

    Raises `ExampleFailure` where the template refuses it.
    """
    messages = [{k: v for k, v in m.items() if v is not None} for m in example.messages]
    tools = [dict(tool) for tool in example.tools] if example.tools else None
    try:
        return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
    except Exception as error:  # a template is foreign code and may raise anything
        raise ExampleFailure("template_error") from error
