"""What a model is asked: to answer with reasons, and to judge an answer that is shown to it.

The texts are ours; the papers' own wording is not copied.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from curate.errors import ExampleFailure
from curate.models.text.templates import turn_text
from curate.scorers.bsdetector.answers import PromptStyle

Message = Mapping[str, Any]

NO_PROMPT: Final = "no_prompt"
LETTERS: Final = ("A", "B", "C")
OPENING: Final = "answer: ("  # the letter is the next token

REASONED: Final = (
    "Reply to the request below. Work it out first and state the result last, in this form:\n"
    "explanation: [your reasoning, step by step]\n"
    "answer: [your reply alone]\n\n"
    "Request:\n{}"
)
_SHOWN: Final = "Question:\n{question}\n\nProposed answer:\n{answer}\n\n"
_ASKED: Final = (
    "Judge the proposed answer. Which of these holds?",
    "Look again, more carefully: are you certain about the proposed answer? Choose once more.",
)
_CHOICE: Final = "({letter}) {meaning}\n"
_ORDERS: Final = (
    ("The proposed answer is correct", "The proposed answer is incorrect", "I am not sure"),
    ("The proposed answer is incorrect", "The proposed answer is correct", "I am not sure"),
)
LETTER_ONLY: Final = "Reply with the letter of your choice, as in: answer: (C)"
REASONED_LETTER: Final = (
    "Reply in this form:\nexplanation: [your reasoning, step by step]\nanswer: ([one letter])"
)
_LETTER: Final = re.compile(r"\banswer\s*:\s*[\[(\"'*]*\s*([ABC])\b", re.IGNORECASE)


def sampling_messages(history: Sequence[Message], style: PromptStyle) -> list[Message]:
    """Return the messages that ask for an answer: under ``cot`` with reasons in front of it.

    Raises `ExampleFailure` for an example without a prompt.
    """
    if not history:
        raise ExampleFailure(NO_PROMPT)
    if style == "plain":
        return list(history)
    asked = list(history)
    request = turn_text(asked.pop()) if asked[-1]["role"] == "user" else "Reply to the above."
    return [*asked, {"role": "user", "content": REASONED.format(request)}]


def history_text(history: Sequence[Message]) -> str:
    """Return everything before the response as text, with roles where there are several turns.

    Raises `ExampleFailure` for an example without a prompt, and content without a text form.
    """
    if not history:
        raise ExampleFailure(NO_PROMPT)
    if len(history) == 1:
        return turn_text(history[0])
    return "\n".join(f"{m['role'].capitalize()}: {turn_text(m)}" for m in history)


def reflection_prompts(history: Sequence[Message], response: Message) -> list[str]:
    """Return four prompts to judge a response by a letter: two questions, each in both orders.

    All begin with the question and the response. In the first order A means correct and B incorrect,
    in the second the reverse; C is always not sure.
    """
    shown = _shown(history, response)
    return [
        f"{shown}{asked}\n{choices_text(order)}{LETTER_ONLY}"
        for asked in _ASKED
        for order in _ORDERS
    ]


def reasoned_reflection_prompts(history: Sequence[Message], response: Message) -> list[str]:
    """Return two prompts to judge a response, with reasons first: A is correct, B incorrect."""
    shown = _shown(history, response)
    return [f"{shown}{asked}\n{choices_text(_ORDERS[0])}{REASONED_LETTER}" for asked in _ASKED]


def chosen_letter(text: str) -> str | None:
    """Return the letter after the first ``answer:`` that has one; None without.

    Examples
    --------
    >>> chosen_letter("explanation: it fits. answer: (b)"), chosen_letter("maybe")
    ('B', None)
    """
    match = _LETTER.search(text)
    return match[1].upper() if match else None


def choices_text(order: Sequence[str]) -> str:
    """Return one line a letter: what choosing it means."""
    return "".join(
        _CHOICE.format(letter=letter, meaning=meaning)
        for letter, meaning in zip(LETTERS, order, strict=True)
    )


def _shown(history: Sequence[Message], response: Message) -> str:
    return _SHOWN.format(question=history_text(history), answer=turn_text(response))
