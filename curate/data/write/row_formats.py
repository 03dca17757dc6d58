"""The formats to write a row in: what each cannot hold, and the least to leave out to make it fit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.data.messages import Message, only_text, text_of
from curate.data.write.dialects import DIALECTS, NOT_FLAT, Row, named

Tools: TypeAlias = Sequence[Mapping[str, Any]] | None
Reduced: TypeAlias = tuple[list[Message], Tools, list[str]]  # what is left, and what went
Reducer: TypeAlias = Callable[[Sequence[Message], Tools], Reduced]

REJECTED: Final = "a rejected response"
TOOL_CALLS: Final = "tool calls"
N_NAMED: Final = 3


def _no_remark(messages: Sequence[Message]) -> str | None:
    del messages
    return None


@final
@dataclass(frozen=True, slots=True)
class RowFormat:
    """One way to write an example as a JSON object.

    Parameters
    ----------
    name
        As ``--to`` calls it.
    convert
        From messages and tools to the row; `RowError` for what it cannot hold.
    reduce
        Removes what ``convert`` would refuse, and says what that was.
    remark
        What the user should know about an example the format does hold, or None.
    held_by
        The ``--to`` that holds more, or "" if there is none.
    """

    name: str
    convert: Callable[[Sequence[Message], Tools], Row]
    reduce: Reducer
    remark: Callable[[Sequence[Message]], str | None] = _no_remark
    held_by: str = ""


@final
class Tally:
    """How many rows each remark applies to, and the first of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, example_id: str, what: str) -> None:
        """Count one row."""
        self._counts[what] += 1
        named = self._first.setdefault(what, [])
        if len(named) < N_NAMED:
            named.append(example_id)

    def rows(self) -> list[dict[str, Any]]:
        """Return ``what``, ``n_rows`` and the ``first`` ids, the most frequent first."""
        return [
            {"what": what, "n_rows": n, "first": self._first[what]}
            for what, n in self._counts.most_common()
        ]


def tally_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe a tally in words, one line each."""
    lines = []
    for row in rows:
        more = ", ..." if row["n_rows"] > len(row["first"]) else ""
        unit = "row" if row["n_rows"] == 1 else "rows"
        lines.append(f"{row['what']}: {row['n_rows']:,} {unit} ({', '.join(row['first'])}{more})")
    return lines


# What must go ------------------------------------------------------------------------------------


def whole(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove nothing."""
    return list(messages), tools, []


def text_only(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove content that is not text, and write what is left of a list of parts as one text."""
    kept, lost = [], []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            if any(only_text(part) is None for part in content):
                lost.append("content that is not text")
            texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
            message = {**message, "content": "".join(texts)}
        kept.append(message)
    return kept, tools, lost


def plain_turns(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove everything except text, roles and tool calls, and remove text beside a tool call."""
    kept, _, lost = text_only(messages, tools)
    kept = without(kept, ("reasoning_content", "name", TEMPLATE_ARGUMENTS), lost)
    turns = []
    for message in kept:
        if message.get("tool_calls") and message.get("content"):
            lost.append("text beside a tool call")
            message = {key: value for key, value in message.items() if key != "content"}
        turns.append(message)
    return turns, tools, lost


def flat_turns(
    messages: Sequence[Message], tools: Tools, *, system: bool, history: bool
) -> Reduced:
    """Remove everything except a question and its answer.

    ``system``: a system message stays; ``history``: earlier questions and answers stay where they
    alternate. A final tool call is written as its JSON, every other one is removed with its results.
    """
    kept, _, lost = text_only(messages, tools)
    kept = without(kept, NOT_FLAT, lost)
    if tools:
        lost.append("tools")
    *before, last = kept
    if last.get("tool_calls"):
        lost.append(TOOL_CALLS)
        last = {"role": "assistant", "content": text_of(last)}
    turns = _spoken(before, lost)
    head = [turns.pop(0)] if turns and turns[0]["role"] == "system" else []
    if head and not (system and head[0].get("content")):
        lost.append("a system message" if head[0].get("content") else "an empty system message")
        head = []
    roles = [turn["role"] for turn in turns]
    alternates = roles == [*(["user", "assistant"] * (len(roles) // 2)), "user"]
    if not alternates or (len(turns) > 1 and not history):
        lost.append("more than one turn" if alternates else "turns that do not alternate")
        asked: Message = {"role": "user", "content": ""}
        turns = [next((turn for turn in reversed(turns) if turn["role"] == "user"), asked)]
    return [*head, *turns, last], None, lost


def _spoken(messages: Sequence[Message], lost: list[str]) -> list[Message]:
    """Drop tool calls and their results; keep the text beside them."""
    turns = []
    for message in messages:
        if message["role"] == "tool" or message.get("tool_calls"):
            lost.append(TOOL_CALLS)
            if message["role"] == "tool" or not message.get("content"):
                continue
            message = {key: value for key, value in message.items() if key != "tool_calls"}
        turns.append(message)
    return turns


def without(messages: Sequence[Message], keys: Sequence[str], lost: list[str]) -> list[Message]:
    """Remove keys of messages; append to ``lost`` what they are."""
    lost += [named(key) for key in keys if any(key in message for message in messages)]
    return [{k: v for k, v in message.items() if k not in keys} for message in messages]


_REDUCERS: Final[Mapping[str, Reducer]] = {
    "messages": whole,
    "sharegpt": plain_turns,
    "alpaca": partial(flat_turns, system=True, history=True),
    "prompt-completion": partial(flat_turns, system=False, history=False),
}
ROW_FORMATS: Final[Mapping[str, RowFormat]] = {
    name: RowFormat(name, DIALECTS[name], reduce, held_by="messages")
    for name, reduce in _REDUCERS.items()
}
