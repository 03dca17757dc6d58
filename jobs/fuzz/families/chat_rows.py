"""Chat rows in every dialect, with values of any kind in the places of theirs."""

import json
from random import Random
from typing import Any, Final

from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import changed, json_bytes

_CALL: Final = {"type": "function", "id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}
_TOOLS: Final = [
    {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
    }
]
_USER: Final = {"role": "user", "content": "Add 1 and 1."}
_SAID: Final = {"role": "assistant", "content": "2"}
_DIALECTS: Final[tuple[dict[str, Any], ...]] = (
    {"messages": [{"role": "system", "content": "Be brief."}, _USER, _SAID]},
    {"messages": [_USER, {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                  {"role": "tool", "tool_call_id": "c1", "content": "2"}, _SAID], "tools": _TOOLS},
    {"messages": [_USER, {"role": "assistant", "content": "", "function_call": {"name": "add", "arguments": "{\"a\": 1}"}},
                  {"role": "function", "name": "add", "content": "2"}, _SAID]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Add."}, {"type": "image"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "2"}]}]},
    {"messages": [_USER, {**_SAID, "reasoning_content": "1 + 1", "weight": 1}], "system": "Be brief."},
    {"messages": [_USER, {**_SAID, "thinking": "1 + 1", "train": True}, _USER, _SAID],
     "chat_template_kwargs": {"enable_thinking": True}},
    {"conversations": [{"from": "human", "value": "Add."}, {"from": "gpt", "value": "2"}], "system": "Be brief."},
    {"conversations": [{"from": "human", "value": "Add."}, {"from": "function_call", "value": "{}"},
                       {"from": "observation", "value": "2"}, {"from": "gpt", "value": "2"}], "tools": "[]"},
    {"instruction": "Add.", "input": "1 1", "output": "2", "system": "Be brief.", "history": [["a", "b"]]},
    {"prompt": "Add.", "completion": "2"},
    {"prompt": [_USER], "completion": [_SAID], "tools": _TOOLS},
    {"question": "Add?", "answer": "2", "context": "1 1"},
    {"prompt": "Add.", "responses": ["2", "3", [_SAID]]},
    {"chosen": [_USER, _SAID], "rejected": [_USER, _SAID]},
    {"prompt": "Add.", "chosen": "2", "rejected": "3"},
    {"text": "Once."},
)  # fmt: skip


def _make(rng: Random) -> Attack:
    base = rng.choice(_DIALECTS)
    rows = []
    for _ in range(rng.randrange(1, 7)):
        row = changed(rng, base, rng.choice((0.0, 0.03, 0.1, 0.3)))
        if (
            isinstance(row, dict) and rng.random() < 0.2
        ):  # nested values as JSON text, as CSV has them
            row = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
        if isinstance(row, dict) and rng.random() < 0.1:
            row.update(rng.choice(_DIALECTS))
        rows.append(json_bytes(rng, row).replace(b"\n", b" "))
    return Attack(b"\n".join(rows) + b"\n", "a.jsonl")


FAMILY: Final = Family("chat-rows", _make, read_dataset)
