"""The script for TRL reads what lies beside it, and trains."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from exported import load

from curate.errors import DataError

HAS_TRL = importlib.util.find_spec("trl") is not None
needs_trl = pytest.mark.skipif(not HAS_TRL, reason="trl is not installed; pip install trl")


def read_rows(folder: Path, data: Any) -> Any:
    """Pass rows through the functions of the script, without importing TRL."""
    tree = ast.parse((folder / "train_trl.py").read_text(encoding="utf-8"))
    wanted = ("with_own_keys", "own_keys", "MESSAGES")
    names = [
        node
        for node in tree.body
        if getattr(node, "name", None) in wanted
        or (isinstance(node, ast.Assign) and node.targets[0].id in wanted)
    ]
    from datasets import Dataset, Features, Json, List

    scope: dict[str, Any] = {
        "json": json, "Dataset": Dataset, "Features": Features, "Json": Json, "List": List,
    }  # fmt: skip
    exec(compile(ast.Module(names, []), "train_trl.py", "exec"), scope)  # noqa: S102 - our own
    return scope["with_own_keys"](data)


def test_prompt_and_completion_are_messages(made, kit, tmp_path: Path) -> None:
    report = made([kit.chat("a", "b", "c", "d", system="s")], trainer="trl")
    folder = tmp_path / "subset"
    (row,) = load(folder)["train"].to_list()
    assert row == {
        "prompt": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
        ],
        "completion": [{"role": "assistant", "content": "d"}],
    }  # fmt: skip
    assert read_rows(folder, load(folder)["train"]).to_list() == [row]
    (warning,) = report["warnings"]
    assert warning.startswith("earlier assistant turns, which TRL does not train on in this")


def test_tool_calls_are_objects_again_and_no_message_has_foreign_keys(
    made, kit, tmp_path: Path
) -> None:
    other = json.loads(json.dumps(kit.with_tools()))
    other["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"b": ["x"]}
    for to in ("prompt-completion", "messages"):
        made([kit.with_tools(), other], trainer="trl", to=to)
        folder = tmp_path / "subset"
        rows = read_rows(folder, load(folder)["train"]).to_list()
        turns = [row["messages"] if to == "messages" else row["prompt"] for row in rows]
        arguments = [t[1]["tool_calls"][0]["function"]["arguments"] for t in turns]
        assert sorted(map(str, arguments)) == ["{'a': 1}", "{'b': ['x']}"]
        assert [set(turn) for turn in turns[0][:3]] == [
            {"role", "content"}, {"role", "tool_calls"}, {"role", "content", "tool_call_id"},
        ]  # fmt: skip
        assert json.loads(rows[0]["tools"]) == kit.TOOLS


@pytest.mark.parametrize("to", ["prompt-completion", "messages"])
def test_no_arguments_are_an_empty_object_that_the_script_can_read(
    made, kit, tmp_path: Path, to: str
) -> None:
    rows = []
    for given in ({"arguments": ""}, {"arguments": None}, {}):
        row = json.loads(json.dumps(kit.with_tools()))
        row["messages"][1]["tool_calls"][0]["function"] = {"name": "add", **given}
        row["messages"][0]["content"] += str(given)
        rows.append(row)
    made(rows, trainer="trl", to=to)
    folder = tmp_path / "subset"
    for row in read_rows(folder, load(folder)["train"]).to_list():
        turns = row["messages"] if to == "messages" else row["prompt"]
        assert turns[1]["tool_calls"][0]["function"]["arguments"] == {}


def test_what_the_script_would_stumble_over_is_named(made, kit) -> None:
    row = kit.with_tools()
    call = {"function": {"name": "add", "arguments": "{oops"}}
    row["messages"][1] = {"role": "assistant", "tool_calls": [call]}
    with pytest.raises(DataError, match="has tool arguments that are not JSON"):
        made([row], trainer="trl")


def test_a_response_alone_is_no_row_with_a_prompt(made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no message before the response"):
        made([{"text": "words"}], trainer="trl")
    made(trainer="trl", to="messages")
    (row,) = load(tmp_path / "subset")["train"].to_list()
    assert row == {"messages": [{"role": "assistant", "content": "words"}]}


def test_the_script_says_which_tokens_count(made, kit, tmp_path: Path) -> None:
    made(kit.pairs(4), trainer="trl", to="messages", validation="25%")
    script = (tmp_path / "subset" / "train_trl.py").read_text(encoding="utf-8")
    assert "{% generation %}" in script
    assert 'eval_strategy="epoch", assistant_only_loss=True' in script
    made(kit.pairs(4), trainer="trl")
    script = (tmp_path / "subset" / "train_trl.py").read_text(encoding="utf-8")
    assert "The loss is that of the last response" in script
    assert "eval_strategy" not in script
    compile(script, "train_trl.py", "exec")


@pytest.mark.slow
@needs_trl
@pytest.mark.timeout(240)
def test_twenty_steps_lower_the_loss(made, kit, tiny_model: Path, tmp_path: Path) -> None:
    made(kit.pairs(16), trainer="trl", validation="25%")
    script = tmp_path / "subset" / "train_trl.py"
    command = [
        sys.executable, str(script), "--model", str(tiny_model), "--output_dir", str(tmp_path / "o"),
        "--max_steps", "20", "--learning_rate", "1e-2", "--logging_steps", "1", "--use_cpu", "True",
        "--per_device_train_batch_size", "4", "--save_strategy", "no", "--eval_strategy", "no",
        "--gradient_checkpointing", "False", "--max_length", "64", "--disable_tqdm", "True",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    state = json.loads((tmp_path / "o" / "trainer_state.json").read_text(encoding="utf-8"))
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert (tmp_path / "o" / "model.safetensors").is_file()
