"""What a conversation says besides its text: which turns are trained, what its template is given."""

from collections.abc import Mapping
from typing import Any, Final

WEIGHT: Final = "weight"  # 0 on an assistant turn that is context and not trained on
TEMPLATE_ARGUMENTS: Final = "chat_template_kwargs"  # of the conversation, kept on its first message


def is_trained(message: Mapping[str, Any]) -> bool:
    """Whether a message is an assistant turn that is scored and trained on."""
    return message["role"] == "assistant" and message.get(WEIGHT) != 0
