"""What an export for axolotl registers is what its documentation says it reads.

The schema below states facts of ``docs/dataset-formats`` and of the configuration reference of
axolotl-ai-cloud/axolotl as of July 2026.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from exported import load

from curate.errors import DataError

KEYS: dict[str, type | tuple[type, ...]] = {
    "path": str, "split": str, "type": str, "name": str, "ds_type": str, "revision": str,
    "data_files": (str, list), "field_messages": str, "field_tools": str,
    "message_property_mappings": dict, "roles": dict, "roles_to_train": list,
    "train_on_eos": str, "train_on_eot": str, "chat_template": str,
}  # fmt: skip
CHAT_KEYS = {
    "field_messages", "field_tools", "message_property_mappings", "roles", "roles_to_train",
    "train_on_eos", "train_on_eot", "chat_template",
}  # fmt: skip
ROLES = {"system", "user", "assistant", "tool"}  # its default `roles` know these


def check_block(block: dict[str, Any], data: Any) -> list[dict[str, Any]]:
    """Assert that one entry of ``datasets:`` is as documented; return the rows it names."""
    assert set(block) <= set(KEYS)
    assert all(isinstance(value, KEYS[key]) for key, value in block.items())
    assert block["type"] in ("chat_template", "alpaca")
    assert block.get("train_on_eos", "turn") in ("all", "turn", "last", "none")
    rows = data[block["split"]].to_list()
    if block["type"] == "alpaca":
        assert not CHAT_KEYS & set(block)
        assert all(set(row) >= {"instruction", "input", "output"} for row in rows)
        return rows
    keys = block["message_property_mappings"]
    for row in rows:
        for message in row[block["field_messages"]]:
            assert message[keys["role"]] in ROLES
            for call in message.get("tool_calls") or ():
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
        tools = row.get(block.get("field_tools", "tools"))
        assert tools is None or isinstance(json.loads(tools), list)
    return rows


def blocks_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "axolotl.yaml").read_text(encoding="utf-8"))
    return found


def test_conversations_with_tools(made, kit, tmp_path: Path) -> None:
    made([kit.with_tools(), kit.chat("a", "b", system="s")], trainer="axolotl")
    folder = tmp_path / "subset"
    found = blocks_of(folder)
    assert found == {
        "datasets": [
            {
                "path": folder.name, "split": "train", "type": "chat_template",
                "field_messages": "messages",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles_to_train": ["assistant"], "train_on_eos": "turn", "field_tools": "tools",
            }
        ]
    }  # fmt: skip
    first, second = check_block(found["datasets"][0], load(folder))
    assert [message["role"] for message in first["messages"]] == [
        "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert json.loads(first["tools"]) == kit.TOOLS
    assert second["messages"][0]["content"] == "s"
    assert second["tools"] is None


def test_the_validation_split_is_the_test_dataset(made, kit, tmp_path: Path) -> None:
    made(kit.pairs(10), trainer="axolotl", validation="2", push_to_hub="me/mine")
    folder = tmp_path / "subset"
    found = blocks_of(folder)
    assert list(found) == ["datasets", "test_datasets"]
    sizes = {key: len(check_block(found[key][0], load(folder))) for key in found}
    assert sizes == {"datasets": 8, "test_datasets": 2}
    assert "&id" not in (folder / "axolotl.yaml").read_text(), "each block is whole"
    assert "field_tools" not in found["datasets"][0]
    assert "# From the hub: path: me/mine" in (folder / "axolotl.yaml").read_text()


def test_its_alpaca_holds_one_question_and_its_answer(made, kit, tmp_path: Path) -> None:
    made(kit.pairs(2), trainer="axolotl", to="alpaca")
    (block,) = blocks_of(tmp_path / "subset")["datasets"]
    rows = check_block(block, load(tmp_path / "subset"))
    assert {row["output"] for row in rows} == {"0 it is", "1 it is"}
    with pytest.raises(
        DataError, match=r"cannot be written as alpaca for axolotl .* a system mess"
    ):
        made([kit.chat("a", "b", system="s")], trainer="axolotl", to="alpaca")


def test_an_image_is_refused_and_goes_with_lossy(made, kit, tmp_path: Path) -> None:
    row = kit.chat("a", "b")
    image = {"type": "image_url", "image_url": {"url": "x"}}
    row["messages"][0]["content"] = [image, {"type": "text", "text": "what?"}]
    with pytest.raises(DataError, match="has content that is not text"):
        made([row], trainer="axolotl")
    report = made([row], trainer="axolotl", lossy=True)
    assert [one["what"] for one in report["lost"]] == ["content that is not text"]
