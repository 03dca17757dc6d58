"""What a conversation says besides its text: which turns are trained, what its template is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

WEIGHT: Final = "weight"  # 0 on an assistant turn that is context and not trained on
TEMPLATE_ARGUMENTS: Final = "chat_template_kwargs"  # of the conversation, kept on its first message


def is_trained(message: Mapping[str, Any]) -> bool:
    """Whether a message is an assistant turn that is scored and trained on."""
    return message["role"] == "assistant" and message.get(WEIGHT) != 0


@final
@dataclass(frozen=True, slots=True)
class Example:
    """One training item: canonical messages, the last one from the assistant.

    A message is a mapping with ``role`` and ``content`` and, where given, ``name``, ``tool_calls``,
    ``tool_call_id`` and ``reasoning_content``; ``content`` is text or a list of parts.

    Where a row had an instruction and an input, the message before the last holds both, with a blank
    line between them; ``input_at`` is where the input begins in it, in characters. It is no part of
    the id: templates that know an input write it apart, all others read the message as it is.
    ``row`` has what `Scorer.row_columns` asks of its first input row, as text, where the row has it.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    input_at: int | None = None
    row: Mapping[str, str] = field(default_factory=dict, compare=False)
