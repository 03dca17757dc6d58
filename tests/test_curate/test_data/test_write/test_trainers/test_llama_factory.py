"""What an export for LLaMA-Factory registers is what its documentation says it reads.

The schema below states facts of ``data/README.md`` of hiyouga/LLaMA-Factory as of August 2026.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.errors import ConfigError, DataError

PLACES = {"hf_hub_url", "ms_hub_url", "script_url", "cloud_file_name", "file_name"}
KEYS = PLACES | {
    "formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags",
}  # fmt: skip
COLUMNS = {
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos",
    "audios", "chosen", "rejected", "kto_tag",
}  # fmt: skip
TAGS = {
    "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
    "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system",
}  # fmt: skip
EXTENSIONS = {".json", ".jsonl", ".csv", ".parquet", ".arrow"}


def check_entry(entry: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Assert that an entry of ``dataset_info.json`` is as documented; return the rows it names."""
    assert set(entry) <= KEYS
    assert len(PLACES & set(entry)) == 1
    assert entry.get("formatting", "alpaca") in ("alpaca", "sharegpt")
    assert set(entry["columns"]) <= COLUMNS
    assert set(entry.get("tags", {})) <= set(TAGS)
    if "file_name" not in entry:
        return []
    data = folder / entry["file_name"]
    files = sorted(data.iterdir())
    assert len({file.suffix for file in files}) == 1
    assert files[0].suffix in EXTENSIONS
    rows = pq.read_table(data).to_pylist()
    assert all(set(entry["columns"].values()) <= set(row) for row in rows), "it reads each by name"
    for row in rows:
        check_row(entry, row)
    return rows


def check_row(entry: dict[str, Any], row: dict[str, Any]) -> None:
    columns = entry["columns"]
    if entry.get("formatting") == "alpaca":
        assert all(isinstance(row[columns[name]], str) for name in ("prompt", "response"))
        return
    tags = TAGS | entry.get("tags", {})
    turns = row[columns["messages"]]
    roles = [turn[tags["role_tag"]] for turn in turns]
    assert all(isinstance(turn[tags["content_tag"]], str) for turn in turns)
    spoken = roles[1:] if roles[0] == tags["system_tag"] else roles
    odd = {tags["user_tag"], tags["observation_tag"]}
    even = {tags["assistant_tag"], tags["function_tag"]}
    assert len(spoken) % 2 == 0
    assert all(role in (even if i % 2 else odd) for i, role in enumerate(spoken))
    for turn in turns:
        if turn[tags["role_tag"]] == tags["function_tag"]:
            calls = json.loads(turn[tags["content_tag"]])
            for call in calls if isinstance(calls, list) else [calls]:
                assert isinstance(call["name"], str)
                assert isinstance(call["arguments"], dict)
    if "tools" in columns and row[columns["tools"]] is not None:
        assert isinstance(json.loads(row[columns["tools"]]), list)


@pytest.fixture
def entries(made, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def read(rows: Any, **options: Any) -> dict[str, Any]:
        made(rows, trainer="llama-factory", **options)
        text = (tmp_path / "subset" / "dataset_info.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        return found

    return read


def test_conversations_with_tools_and_systems(entries, kit, tmp_path: Path) -> None:
    rows = [kit.with_tools(), kit.chat("a", "b", "c", "d", system="s"), *kit.pairs(0)]
    found = entries(rows)
    assert list(found) == ["subset"]
    assert found["subset"] == {
        "file_name": "train", "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"}, "tags": TAGS,
    }  # fmt: skip
    longest, other = check_entry(found["subset"], tmp_path / "subset")
    assert [turn["from"] for turn in longest["conversations"]] == [
        "human", "function_call", "observation", "gpt",
    ]  # fmt: skip
    assert json.loads(longest["conversations"][1]["value"]) == {
        "name": "add", "arguments": {"a": 1},
    }  # fmt: skip
    assert other["conversations"][0] == {"from": "system", "value": "s"}


def test_alpaca_names_the_columns_that_are_there(entries, kit, tmp_path: Path) -> None:
    found = entries(kit.pairs(3), to="alpaca")
    assert found["subset"]["columns"] == {
        "prompt": "instruction", "query": "input", "response": "output",
    }  # fmt: skip
    rows = check_entry(found["subset"], tmp_path / "subset")
    assert {row["instruction"] for row in rows} == {"Say 0.", "Say 1.", "Say 2."}
    more = kit.chat("a", "b", "c", "d", system="s")
    found = entries([more, kit.chat("a", "b")], to="alpaca")
    assert set(found["subset"]["columns"]) == {"prompt", "query", "response", "system", "history"}
    rows = check_entry(found["subset"], tmp_path / "subset")
    assert rows[0]["history"] == [["a", "b"]]
    assert rows[1]["system"] is None


def test_the_openai_layout_has_its_tags(entries, kit, tmp_path: Path) -> None:
    found = entries([kit.chat("a", "b", "c", "d", system="s")], to="messages")
    assert found["subset"]["tags"] == {
        "role_tag": "role", "content_tag": "content", "user_tag": "user",
        "assistant_tag": "assistant", "system_tag": "system",
    }  # fmt: skip
    (row,) = check_entry(found["subset"], tmp_path / "subset")
    assert row["messages"][0] == {"role": "system", "content": "s"}


def test_a_validation_split_and_the_hub_have_entries_of_their_own(
    entries, kit, tmp_path: Path
) -> None:
    found = entries(kit.pairs(10), validation="20%", push_to_hub="me/mine")
    assert {name: entry.get("file_name") for name, entry in found.items()} == {
        "subset": "train", "subset_validation": "validation", "subset_hub": None,
        "subset_validation_hub": None,
    }  # fmt: skip
    assert found["subset_validation_hub"]["hf_hub_url"] == "me/mine"
    assert found["subset_validation_hub"]["split"] == "validation"
    sizes = [len(check_entry(entry, tmp_path / "subset")) for entry in found.values()]
    assert sizes == [8, 2, 0, 0]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"role": "assistant", "content": "and more"}, "turns in an order LLaMA-Factory skips"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "tool arguments that are not JSON",
        ),
        ({"role": "assistant", "content": "x", "name": "ann"}, "a name"),
    ],
)
def test_rows_it_would_skip_or_stumble_over_are_named(
    made, kit, tmp_path: Path, extra: dict[str, Any], reason: str
) -> None:
    row = kit.chat("a", "b")
    row["messages"].append(extra)
    with pytest.raises(DataError) as caught:
        made([row, kit.chat("c", "d")], trainer="llama-factory")
    assert str(caught.value).endswith(f"has {reason}); use --lossy to write what fits")
    assert not (tmp_path / "subset").exists()


def test_lossy_keeps_the_last_question(made, kit, tmp_path: Path) -> None:
    row = kit.chat("a", "b", "c", "d")
    del row["messages"][1]
    report = made([row], trainer="llama-factory", lossy=True)
    assert report["lost"][0]["what"] == "turns in an order LLaMA-Factory skips"
    (found,) = pq.read_table(tmp_path / "subset" / "train").to_pylist()
    assert found["conversations"] == [
        {"from": "human", "value": "c"}, {"from": "gpt", "value": "d"},
    ]  # fmt: skip


def test_formats_it_does_not_read_are_named(made, kit) -> None:
    with pytest.raises(ConfigError) as caught:
        made(kit.pairs(1), trainer="llama-factory", to="prompt-completion")
    assert str(caught.value) == (
        "LLaMA-Factory cannot be given --to 'prompt-completion'; choose sharegpt, alpaca, "
        "messages, or leave it out"
    )
