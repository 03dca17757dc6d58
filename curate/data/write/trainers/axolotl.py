"""axolotl: a ``datasets:`` block."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, Final, final

import yaml

from curate.data.messages import Message
from curate.data.write.dialects import Row, to_prompt_completion
from curate.data.write.row_formats import RowFormat, Tools, flat_turns
from curate.data.write.trainers.base import Exported, Trainer
from curate.data.write.trainers.rows import chat_row, reduce_chat

_FILE: Final = "axolotl.yaml"
_CHAT: Final[Mapping[str, Any]] = {
    "type": "chat_template",
    "field_messages": "messages",
    "message_property_mappings": {"role": "role", "content": "content"},
    "roles_to_train": ["assistant"],
    "train_on_eos": "turn",
}
_BLOCKS: Final[Mapping[str, Mapping[str, Any]]] = {"messages": _CHAT, "alpaca": {"type": "alpaca"}}


def alpaca_row(messages: Sequence[Message], tools: Tools) -> Row:
    """Return ``instruction, input, output``: axolotl's alpaca has no system and no history."""
    pair = to_prompt_completion(messages, tools)
    return {"instruction": pair["prompt"], "input": "", "output": pair["completion"]}


@final
class Axolotl(Trainer):
    """Axolotl: a YAML file with its ``datasets:`` and ``test_datasets:``.

    Schema: ``docs/dataset-formats`` of the project and its configuration reference, 2026-07.
    """

    name: ClassVar[str] = "axolotl"
    title: ClassVar[str] = "axolotl"
    formats: ClassVar[Mapping[str, RowFormat]] = {
        "messages": RowFormat("messages for axolotl", chat_row, reduce_chat),
        "alpaca": RowFormat(
            "alpaca for axolotl", alpaca_row, partial(flat_turns, system=False, history=False)
        ),
    }
    weights: ClassVar[str] = (
        "axolotl takes no weight per example: the `weight` of a turn is 0 or 1: trained on or not"
    )

    def files(self, exported: Exported) -> Mapping[str, str]:
        """Return ``axolotl.yaml``; its paths are relative to the folder the export was run in."""
        keys = {"train": "datasets", "validation": "test_datasets"}
        blocks = {keys[split]: [_block(exported, split)] for split in exported.splits}
        head = [
            "# Add these blocks to the configuration of a run. `path` is this folder as seen",
            "# from where it was written: start there, or change the path.",
        ]
        if exported.repo is not None:
            head.append(f"# From the hub: path: {exported.repo}")
        body = yaml.safe_dump(blocks, sort_keys=False, allow_unicode=True)
        return {_FILE: "\n".join([*head, body])}

    def usage(self, exported: Exported) -> str:
        """Return where to add the blocks."""
        return (
            f"Add the blocks of `{_FILE}` to the configuration of a run; `path` there is relative "
            "to where the export was made. The responses of all turns are trained on."
        )


def _block(exported: Exported, split: str) -> dict[str, Any]:
    block = {"path": exported.folder, "split": split, **deepcopy(_BLOCKS[exported.to])}
    return block if "tools" not in exported.columns else {**block, "field_tools": "tools"}
