"""What a judge is asked of two responses: which is better, and whether it is sure of that.

The texts are ours; the paper's own wording was not available and is not copied.
"""

from collections.abc import Sequence
from typing import Final

from curate.models.text.templates import turn_text
from curate.scorers.bsdetector.prompts import (
    LETTER_ONLY,
    REASONED_LETTER,
    Message,
    choices_text,
    history_text,
    reasoned_reflection_prompts,
    reflection_prompts,
)

_SHOWN: Final = (
    "Question:\n{question}\n\nResponse 1:\n{first}\n\nResponse 2:\n{second}\n\n"
    "Which response answers the question better? Judge what they say: neither their length nor the "
    "order in which they are shown is a reason to prefer one."
)
_OPTIONS: Final = ("Response 1 is better", "Response 2 is better", "Neither is better")
_VERDICT: Final[Message] = {"role": "assistant", "content": "Response 2 is better."}


def comparison_prompts(
    history: Sequence[Message], original: Message, candidate: Message, *, reasoned: bool = False
) -> list[str]:
    """Return two prompts to choose between responses by a letter, one per order of presentation.

    A is the response shown first, B the one shown second, C neither. The first prompt shows the
    original first, the second the candidate. ``reasoned`` asks for reasons in front of the letter.

    Raises `ExampleFailure` for an example without a prompt, and content without a text form.
    """
    ending = REASONED_LETTER if reasoned else LETTER_ONLY
    return [
        f"{_question(history, first, second)}\n{choices_text(_OPTIONS)}{ending}"
        for first, second in ((original, candidate), (candidate, original))
    ]


def verdict_prompts(
    history: Sequence[Message], original: Message, candidate: Message, *, reasoned: bool = False
) -> list[str]:
    """Return the prompts to reflect on the verdict that the candidate, shown second, is better.

    Those of self-reflection: four, or with ``reasoned`` two; see `reflection_prompts`.
    """
    asked: Message = {"role": "user", "content": _question(history, original, candidate)}
    prompts = reasoned_reflection_prompts if reasoned else reflection_prompts
    return prompts([asked], _VERDICT)


def _question(history: Sequence[Message], first: Message, second: Message) -> str:
    return _SHOWN.format(
        question=history_text(history), first=turn_text(first), second=turn_text(second)
    )
