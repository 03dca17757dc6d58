"""Reads sampled texts as answers: where the answer begins, when two are equal, their sentences."""

import json
import re
from dataclasses import dataclass
from typing import Final, Literal, final

PromptStyle = Literal["cot", "plain"]

_ANSWER: Final = re.compile(r"\banswer\s*:\s*", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_BRACKETS: Final = {"[": "]", "(": ")", '"': '"', "'": "'"}


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and whether it was found where the prompt asked for it."""

    text: str
    parsed: bool


def read_answers(texts: str, style: PromptStyle) -> list[Answer]:
    """Read the answers out of a JSON list of sampled texts."""
    return [parse_answer(text, style) for text in json.loads(texts)]


def parse_answer(text: str, style: PromptStyle) -> Answer:
    """Return what follows the first ``answer:`` of a text, without the brackets around it.

    A text without one, or with nothing after it, counts in full as the answer, not parsed.
    Under ``plain`` every text is the answer.

    Examples
    --------
    >>> parse_answer("explanation: 2 and 2. Answer: [four]", "cot")
    Answer(text='four', parsed=True)
    >>> parse_answer("it is four", "cot")
    Answer(text='it is four', parsed=False)
    """
    if style == "plain":
        return Answer(text.strip(), True)
    match = _ANSWER.search(text)
    answer = _unwrapped(text[match.end() :].strip()) if match else ""
    return Answer(answer, True) if answer else Answer(text.strip(), False)


def normalised(text: str) -> str:
    """Return a text to compare answers by: whitespace, case and a final full stop are ignored.

    Examples
    --------
    >>> normalised("  The  Sea.") == normalised("the sea")
    True
    """
    return " ".join(text.split()).casefold().removesuffix(".")


def sentences(text: str) -> list[str]:
    """Split a text after full stops, question and exclamation marks, and at line breaks.

    Examples
    --------
    >>> sentences("One. Two?  Three")
    ['One.', 'Two?', 'Three']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def _unwrapped(text: str) -> str:
    closing = _BRACKETS.get(text[:1])
    return text[1:-1].strip() if closing and len(text) > 1 and text.endswith(closing) else text
