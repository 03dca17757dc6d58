"""The options that would read a dataset whose columns fit no known format."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from curate.data.messages import RowError, conversation
from curate.data.notations import turns_in
from curate.data.read.records import Sample

_PROMPTS: Final = (
    "prompt", "instruction", "question", "query", "problem", "task", "input", "request", "user",
    "human", "ask", "q",
)  # fmt: skip
_RESPONSES: Final = (
    "response", "completion", "output", "answer", "solution", "reply", "assistant", "target",
    "gold", "gpt", "a",
)  # fmt: skip
_SPEAKERS: Final = frozenset(("role", "from"))
_CONVERSATION: Final = re.compile("message|conversation|dialog|turn|chat")
_MESSAGES: Final = ("messages", "conversations", "conversation")
_LOOKED_AT: Final = 1_000  # columns; a file may have a hundred thousand
_LEAST_CHARS: Final = 8  # of a column's texts on average; labels and numbers are shorter
_LEAST_DISTINCT: Final = 0.5  # of its texts; categories repeat

Objects: TypeAlias = Sequence[Sequence[Mapping[str, Any]]]


def suggested(names: Sequence[str], sample: Sample, dataset: str = "pool") -> str:
    """Return what to type to read these columns, with its condition, or "" where nothing stands out.

    ``dataset`` is its name.

    Columns are told by the words in their names; failing that, the two with the longest texts
    that differ from row to row are taken for prompt and response, in their order.
    """
    looked_at = names[:_LOOKED_AT]
    columns = {
        name: [turns_in(value) or value for value in sample(name) if value is not None]
        for name in looked_at
    }
    objects = {n: v for n, v in columns.items() if v and all(map(_is_objects, v))}
    if found := next(filter(None, (_of_objects(*item, dataset) for item in objects.items())), ""):
        return found
    if found := next(filter(None, (_refusal(*item) for item in columns.items())), ""):
        return found
    texts = {name: values for name, values in columns.items() if values and all_text(values)}
    prompt, response = _named(texts, _PROMPTS), _named(texts, _RESPONSES)
    if prompt is None or response is None:
        prompt, response = _longest(texts, prompt, response)
    if prompt and response and prompt != response:
        flags = f"{_flag('prompt', prompt)} {_flag('response', response)}"
        return f"if {prompt!r} is the prompt and {response!r} the response, add {flags}"
    only = next(iter(_prose(texts)), None)
    if only is not None:
        return f"to learn {only!r} whole, add {_flag('text', only)}"
    return next((_no_turns(*item) for item in objects.items()), "")


def all_text(values: Sequence[Any]) -> bool:
    """Return whether every value is text."""
    return all(isinstance(value, str) for value in values)


def _named(texts: Mapping[str, Sequence[str]], words: Sequence[str]) -> str | None:
    """Return the column whose name has the first of ``words`` that any has."""
    for word in words:
        for name in texts:
            if word in re.findall(r"[a-z]+", name.lower()):
                return name
    return None


def _longest(
    texts: Mapping[str, Sequence[str]], prompt: str | None, response: str | None
) -> tuple[str | None, str | None]:
    """Return two columns for prompt and response, one of which may be known already."""
    known = prompt or response
    free = [name for name in _prose(texts) if name != known]
    if prompt is not None:
        return prompt, free[0] if free else None
    if response is not None:
        return (free[0] if free else None), response
    if len(free) < 2:
        return None, None
    order = list(texts)
    first, second = sorted(free[:2], key=order.index)
    return first, second


def _prose(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns of longer texts that differ from row to row, the longest first."""
    mean = {name: sum(map(len, values)) / len(values) for name, values in texts.items()}
    kept = [
        name
        for name, values in texts.items()
        if mean[name] >= _LEAST_CHARS and len(set(values)) >= _LEAST_DISTINCT * len(values)
    ]
    return sorted(kept, key=lambda name: -mean[name])


def _of_objects(column: str, values: Objects, dataset: str) -> str:
    """Say what to do with a column of lists of objects that are turns or the rows, "" for others."""
    if not _SPEAKERS.isdisjoint(_keys(values)):
        return f"if {column!r} holds conversations, add {_flag('messages', column)}"
    if _CONVERSATION.search(column.lower()):
        return _no_turns(column, values)
    if len(values) > 1 or len(values[0]) < 2:
        return ""
    lines = shlex.join(["jq", "-c", f".[{json.dumps(column)}][]", dataset])
    return f"if {column!r} holds the rows, write them as lines: {lines} > rows.jsonl"


def _refusal(column: str, values: Sequence[Any]) -> str:
    """Say why a column whose name promises conversations holds none, "" for any other."""
    if column not in _MESSAGES or not values:
        return ""
    try:
        conversation(values[0], column)
    except RowError as error:
        return f"{column!r} holds no conversations: {error}"
    return ""


def _no_turns(column: str, values: Objects) -> str:
    keys = ", ".join(map(str, _keys(values)[:10]))
    return (
        f"{column!r} holds objects with the keys {keys}, which are no turns: a turn has role and content, "
        "or from and value; rename the keys"
    )


def _keys(values: Objects) -> list[str]:
    return list(dict.fromkeys(key for listed in values for item in listed for key in item))


def _is_objects(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(item, Mapping) and len(item) >= 2 for item in value)
    )


def _flag(role: str, name: str) -> str:
    return f"--column {shlex.quote(f'{role}={name}')}"
