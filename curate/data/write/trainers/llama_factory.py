"""LLaMA-Factory: entries of ``dataset_info.json``."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, final

from curate.data.messages import Message, RowError
from curate.data.write.dialects import Row, plain_text, refuse, to_alpaca, to_sharegpt
from curate.data.write.row_formats import (
    Reduced,
    RowFormat,
    Tools,
    flat_turns,
    plain_turns,
    without,
)
from curate.data.write.trainers.base import Exported, Trainer
from curate.data.write.trainers.rows import NOT_READ, json_arguments

_ASKS: Final = ("human", "observation")
_ANSWERS: Final = ("gpt", "function_call")
_UNORDERED: Final = "turns in an order LLaMA-Factory skips"
_ALPACA: Final = {
    "prompt": "instruction", "query": "input", "response": "output", "system": "system",
    "history": "history",
}  # fmt: skip
_SHAREGPT: Final = {"messages": "conversations", "tools": "tools"}
_SHAREGPT_TAGS: Final = {
    "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
    "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system",
}  # fmt: skip
_OPENAI_TAGS: Final = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
    "system_tag": "system",
}  # fmt: skip
_ENTRIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "sharegpt": {"formatting": "sharegpt", "columns": _SHAREGPT, "tags": _SHAREGPT_TAGS},
    "alpaca": {"formatting": "alpaca", "columns": _ALPACA},
    "messages": {
        "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _OPENAI_TAGS,
    },
}  # fmt: skip


def sharegpt_row(messages: Sequence[Message], tools: Tools) -> Row:
    """Return ``conversations``, and ``tools`` as JSON text where there are any.

    LLaMA-Factory leaves out, with a warning in its log, any row in which askers (human,
    observation) and answerers (gpt, function_call) do not alternate: `RowError` here, as for what
    the format cannot hold. It expects the arguments of a call as an object.
    """
    for message in messages:
        refuse(message, *NOT_READ)
    row = to_sharegpt([_with_objects(message) for message in messages], tools)
    turns = [turn["from"] for turn in row["conversations"]]
    spoken = turns[1:] if turns[0] == "system" else turns
    ordered = all(turn in (_ANSWERS if i % 2 else _ASKS) for i, turn in enumerate(spoken))
    if not ordered or len(spoken) % 2:
        raise RowError(_UNORDERED)
    return row


def _with_objects(message: Message) -> Message:
    calls = message.get("tool_calls")
    if not calls:
        return message
    functions = []
    for call in calls:
        function = json_arguments(call)["function"]
        arguments = json.loads(function["arguments"])
        functions.append({"name": function["name"], "arguments": arguments})
    return {**message, "tool_calls": [{"function": function} for function in functions]}


def reduce_sharegpt(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove what the format cannot hold, then what precedes the last question."""
    kept, left, lost = plain_turns(messages, tools)
    kept = without(kept, NOT_READ, lost)
    if _fits(kept, left):
        return kept, left, lost
    asked = [i for i, message in enumerate(kept) if message["role"] == "user"]
    if asked and _fits(kept[asked[-1] :], left):
        return kept[asked[-1] :], left, [*lost, _UNORDERED]
    kept, left, more = flat_turns(messages, tools, system=True, history=False)
    return kept, left, [*lost, *more]


def _fits(messages: Sequence[Message], tools: Tools) -> bool:
    try:
        sharegpt_row(messages, tools)
    except RowError:
        return False
    return True


def openai_row(messages: Sequence[Message], tools: Tools) -> Row:
    """Return ``messages`` of system, user and assistant with plain text; `RowError` for more."""
    to_alpaca(messages, tools)
    plain = [{"role": m["role"], "content": plain_text(m["content"])} for m in messages]
    return {"messages": plain}


@final
class LlamaFactory(Trainer):
    """LLaMA-Factory: ``dataset_info.json`` with one entry for each split.

    Schema: ``data/README.md`` of the project, 2026-08.
    """

    name: ClassVar[str] = "llama-factory"
    title: ClassVar[str] = "LLaMA-Factory"
    formats: ClassVar[Mapping[str, RowFormat]] = {
        "sharegpt": RowFormat("sharegpt for LLaMA-Factory", sharegpt_row, reduce_sharegpt),
        "alpaca": RowFormat(
            "alpaca for LLaMA-Factory", to_alpaca, partial(flat_turns, system=True, history=True)
        ),
        "messages": RowFormat(
            "messages for LLaMA-Factory", openai_row, partial(flat_turns, system=True, history=True)
        ),
    }
    weights: ClassVar[str] = (
        "LLaMA-Factory takes no weight per example: its mixing options weigh whole datasets"
    )

    def files(self, exported: Exported) -> Mapping[str, str]:
        """Return ``dataset_info.json``; for a dataset of the hub also entries that read it there."""
        entries: dict[str, Any] = {}
        for split in exported.splits:
            entries[_entry_name(exported, split)] = {"file_name": split, **_described(exported)}
        for split in exported.splits if exported.repo else ():
            entries[f"{_entry_name(exported, split)}_hub"] = {
                "hf_hub_url": exported.repo, "split": split, **_described(exported),
            }  # fmt: skip
        return {"dataset_info.json": json.dumps(entries, indent=2, ensure_ascii=False) + "\n"}

    def usage(self, exported: Exported) -> str:
        """Return the settings that name the dataset."""
        lines = [f"dataset_dir: {exported.folder}", f"dataset: {_entry_name(exported, 'train')}"]
        if exported.has_validation:
            lines.append(f"eval_dataset: {_entry_name(exported, 'validation')}")
        block = "\n".join(lines)
        text = (
            f"Add to the YAML file of a training run of stage `sft`:\n\n```yaml\n{block}\n```\n\n"
            "The responses of all turns are trained on."
        )
        if exported.repo is not None:
            text += " The entries that end in `_hub` read the same data from the hub."
        return text


def _entry_name(exported: Exported, split: str) -> str:
    return exported.name if split == "train" else f"{exported.name}_{split}"


def _described(exported: Exported) -> dict[str, Any]:
    entry = dict(_ENTRIES[exported.to])
    named: Mapping[str, str] = entry["columns"]
    entry["columns"] = {key: name for key, name in named.items() if name in exported.columns}
    return entry
