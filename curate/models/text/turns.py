"""Where assistant turns lie in what a chat template writes, and which of them share a row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from curate.models.text.said import THINK_TAGS, content_text, split_reasoning
from curate.models.text.templates import Span

_OPEN: Final = "|".join(re.escape(tags[0]) for tags in THINK_TAGS)
_CLOSE: Final = "|".join(re.escape(tags[1]) for tags in THINK_TAGS)
_OPENINGS: Final = tuple(tags[0] for tags in THINK_TAGS)
EMPTY_THOUGHT: Final = re.compile(rf"\s*(?:{_OPEN})?\s*(?:{_CLOSE})\s*")
OPENED_THOUGHT: Final = re.compile(rf"({_OPEN})\s*$")
CLOSED_THOUGHT: Final = re.compile(rf"(?:{_OPEN})\s*(?:{_CLOSE})\s*$")


@final
@dataclass(frozen=True, slots=True)
class ChatRow:
    """One text to run, and the spans of the assistant turns scored in it, in order."""

    text: str
    spans: tuple[Span, ...]


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn in its inference-time context: what it scores is ``text[start:stop]``."""

    text: str
    start: int
    stop: int


@final
@dataclass(frozen=True, slots=True)
class Context:
    """Where a turn begins in its own rendering (after ``taken``), and the context it has (``text``)."""

    taken: str
    text: str

    def with_empty(self, empty: str) -> str:
        """Return the context of a turn without reasoning, whose rendering begins with ``empty``.

        A think block that the context opened and the turn does not close is closed.
        """
        if self.taken == self.text:
            return self.text + empty
        opened = OPENED_THOUGHT.search(self.text)
        if opened is None:
            return self.text
        if empty:
            starts = empty.lstrip().startswith(opened[1])
            return (self.taken if starts else self.text) + empty
        tag = next(close for open_, close in THINK_TAGS if open_ == opened[1])
        return f"{self.text}\n{tag}\n\n" if self.text.endswith("\n") else f"{self.text}{tag}\n\n"


@final
@dataclass(frozen=True, slots=True)
class Tail:
    """What a template writes after a last turn's content, and of that, what follows its end."""

    text: str
    after: str


def past_last_message(written: Sequence[Mapping[str, Any]], prompt: str, full: str) -> str:
    """Return the rendering of a turn up to where it begins, where its history was rewritten, or "".

    It begins after the same words as the prompt has from the last message on.
    """
    content = written[-2].get("content") if len(written) > 1 else None
    if not isinstance(content, str) or not content.strip():
        return ""
    at = prompt.rfind(content.strip())
    anchor = prompt[at:] if at >= 0 else ""
    begins_after_it = anchor[len(content.strip()) :].strip()
    if not begins_after_it or full.count(anchor) != 1:
        return ""
    return full[: full.index(anchor) + len(anchor)]


def merged(turns: Sequence[Turn]) -> tuple[ChatRow, ...]:
    """Put turns into one row where a later turn's context begins with the earlier one as scored."""
    rows: list[ChatRow] = []
    for turn in turns:
        spans: tuple[Span, ...] = ((turn.start, turn.stop),)
        if rows:
            last = rows[-1]
            reached = last.spans[-1][1]
            if reached <= turn.start and turn.text.startswith(last.text[:reached]):
                spans = (*last.spans, *spans)
                rows.pop()
        rows.append(ChatRow(turn.text, spans))
    return tuple(rows)


def opens_thought(message: Mapping[str, Any]) -> bool:
    """Whether the content itself begins with a think tag."""
    return content_text(message).lstrip().startswith(_OPENINGS)


def empty_thought(body: str, message: Mapping[str, Any]) -> str:
    """Return the empty think block a body begins with, or "".

    Blanks in front of the content are not part of it.
    """
    match = EMPTY_THOUGHT.match(body)
    if match is None:
        return ""
    content = split_reasoning(message)[1]
    blanks = content[: len(content) - len(content.lstrip())]
    empty = match[0]
    return empty.removesuffix(blanks) if blanks and len(blanks) < len(empty) else empty
