"""Columns that appear late, mixed dialects, and what of the rows is not read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.data.read.binding import Binder, bound_chunks
from curate.data.read.canonical import CanonicalRow, new_rows
from curate.data.read.containers.readers import open_reader
from curate.data.read.ingest import IngestOptions, ingest
from curate.data.read.records import BadRecord
from curate.data.read.sources import resolve
from curate.errors import ConfigError, DataError
from curate.store import Store
from curate.train.data import rows_of_data

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(
    data: Path, columns: Mapping[str, str] | None = None, roles: Mapping[str, str] | None = None
) -> tuple[Binder, list[CanonicalRow | BadRecord]]:
    source = resolve(str(data))
    chunks = [chunk for chunk in open_reader(source).chunks() if len(chunk)]
    binder = Binder(source.name, chunks[0], source.container, "auto", columns, roles)
    rows = [row for chunk in chunks for row in new_rows(chunk, binder.see(chunk))]
    for chunk in chunks:
        binder.count(chunk)
    binder.check()
    return binder, rows


def messages(row: CanonicalRow | BadRecord) -> list[dict[str, Any]]:
    assert isinstance(row, CanonicalRow), row
    return row.messages


@pytest.fixture
def late(tmp_path: Path) -> Path:
    folder = tmp_path / "late"
    folder.mkdir()
    write(folder / "a.jsonl", [{"instruction": "add", "output": "3"}])
    rows = [{"instruction": "add", "output": "3", "input": text} for text in ("1 2", "2 1")]
    write(folder / "b.jsonl", rows)
    return folder


def test_an_optional_column_of_a_later_file_is_read(late: Path) -> None:
    binder, rows = read(late)
    assert binder.layout.columns["input"] == "input" and binder.unread == {}
    assert [messages(row)[0]["content"] for row in rows] == ["add", "add\n\n1 2", "add\n\n2 1"]


def test_rows_that_differ_in_a_late_column_are_different_examples(
    late: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "s.duckdb")
    (report,) = ingest(store, str(late))
    assert (report.n_added, report.n_duplicate) == (3, 0)
    assert store.datasets()[0].columns["input"] == "input"


@pytest.mark.parametrize(
    ("role", "first", "other"),
    [("system", "system", "system_prompt"), ("input", "context", "input")],
)
def test_a_role_under_another_name_in_a_later_row_is_not_lost(
    tmp_path: Path, role: str, first: str, other: str
) -> None:
    plain = {"instruction": "a", "response": "b"}
    rows = [{**plain, first: "one"}, {**plain, other: "two"}, {**plain, first: "x", other: "y"}]
    path = write(tmp_path / "a.jsonl", rows)
    _, found = read(path)
    bad = found[1]
    assert isinstance(bad, BadRecord)
    assert bad.reason == (
        f"column {other!r} is filled, but {role} is read from column {first!r}, which is empty here; "
        f"put both into one column, or say which is read: --column {role}={first}"
    )
    assert not any(isinstance(row, BadRecord) for row in (found[0], *found[2:]))
    binder, found = read(path, {role: first})
    assert not any(isinstance(row, BadRecord) for row in found)
    assert binder.unread[other] == 2


def test_a_late_column_can_be_bound_by_name_and_a_missing_one_is_an_error(late: Path) -> None:
    _, rows = read(late, {"input": "input"})
    assert messages(rows[2])[0]["content"] == "add\n\n2 1"
    with pytest.raises(DataError, match="has no column 'inptu'; did you mean 'input'; its columns"):
        read(late, {"input": "inptu"})


def test_a_late_column_can_be_switched_off_and_is_then_reported(late: Path) -> None:
    binder, rows = read(late, {"input": ""})
    assert messages(rows[2])[0]["content"] == "add"
    assert binder.unread == {"input": 2}


def test_training_data_binds_late_columns_and_passes_over_an_empty_file(late: Path) -> None:
    write(late / "0.jsonl", [])
    assert [row.example.messages[0]["content"] for row in rows_of_data(str(late))] == [
        "add", "add\n\n1 2", "add\n\n2 1",
    ]  # fmt: skip


def test_data_without_a_row_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        list(bound_chunks(resolve(str(write(tmp_path / "a.jsonl", [])))))


def test_columns_and_turn_keys_that_are_not_read_are_counted(tmp_path: Path) -> None:
    turn = {**ASSISTANT, "rating": 5, "name": "bob", "note": None}
    rows = [
        {"messages": [USER, turn], "quality": 0.5, "empty": ""},
        {"messages": [USER, ASSISTANT], "quality": None, "topic": "x"},
    ]
    binder, _ = read(write(tmp_path / "a.jsonl", rows))
    assert binder.unread == {"quality": 1, "topic": 1, "turn key rating": 1}


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_system_column_is_read_beside_messages(tmp_path: Path, name: str) -> None:
    rows = [{name: text, "messages": [USER, ASSISTANT]} for text in ("In French.", "In Latin.", "")]
    binder, found = read(write(tmp_path / "a.jsonl", rows))
    assert [messages(row)[0]["content"] for row in found] == ["In French.", "In Latin.", "a"]
    assert binder.unread == {}


@pytest.mark.parametrize(
    ("key", "off", "on"),
    [("weight", 0, 1), ("train", False, True), ("loss", False, True), ("training", False, True)],
)
def test_weights_of_turns_are_part_of_the_identity(
    tmp_path: Path, key: str, off: Any, on: Any
) -> None:
    def row(first: Any) -> dict[str, Any]:
        turns = [USER, {**ASSISTANT, key: first}, {**USER, key: off}, {**ASSISTANT, key: on}]
        return {"messages": turns}

    plain = {"messages": [USER, ASSISTANT, USER, ASSISTANT]}
    _, rows = read(write(tmp_path / "a.jsonl", [row(off), row(on), plain]))
    ids = [found.identity.id for found in rows if isinstance(found, CanonicalRow)]
    assert ids[0] != ids[1] == ids[2]
    assert [turn.get("weight") for turn in messages(rows[0])] == [None, 0, None, None]


def test_a_number_called_loss_is_no_mask(tmp_path: Path) -> None:
    turns = [USER, {**ASSISTANT, "loss": 0.0}]
    binder, rows = read(write(tmp_path / "a.jsonl", [{"messages": turns}]))
    assert messages(rows[0]) == [USER, ASSISTANT]
    assert binder.unread == {"turn key loss": 1}


def test_weights_other_than_0_and_1_and_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    rows = [{"messages": [USER, {**ASSISTANT, "weight": w}]} for w in (0.5, 0)]
    _, found = read(write(tmp_path / "a.jsonl", rows))
    assert [row.reason for row in found if isinstance(row, BadRecord)] == [
        "message 2: weight is 0.5; a turn is trained (1) or not (0)",
        "every turn of the assistant has weight 0, so there is none to train on",
    ]


def test_template_arguments_are_part_of_the_identity(tmp_path: Path) -> None:
    plain = {"messages": [USER, ASSISTANT]}
    rows = [{**plain, TEMPLATE_ARGUMENTS: {"enable_thinking": on}} for on in (True, False)]
    _, found = read(write(tmp_path / "a.jsonl", [*rows, {**plain, TEMPLATE_ARGUMENTS: {}}]))
    identities = [row.identity for row in found if isinstance(row, CanonicalRow)]
    assert len({one.id for one in identities}) == len({one.group_id for one in identities}) == 3
    assert messages(found[1])[0][TEMPLATE_ARGUMENTS] == {"enable_thinking": False}
    assert messages(found[2])[0] == USER


def test_images_are_refused_by_name_and_the_advice_works(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        [{"messages": [USER, ASSISTANT], "images": ["x.png"]}, {"messages": [USER, ASSISTANT]}],
    )
    _, (bad, _) = read(path)
    assert isinstance(bad, BadRecord)
    assert bad.reason == (
        "column 'images' holds 1 image; images are not read: --column images= reads the text alone"
    )
    binder, rows = read(path, {"images": ""})
    assert messages(rows[0]) == [USER, ASSISTANT] and binder.unread == {"images": 1}


SHARE = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [SHARE[0], ASSISTANT]},
        {"conversations": [{"role": "user", "value": "a"}, {"role": "assistant", "value": "b"}]},
        {"conversations": [{"from": " USER ", "value": "a"}, {"from": "ChatGPT", "value": "b"}]},
        {"conversations": [{"from": "prompter", "value": "a"}, {"from": "bing", "value": "b"}]},
        {"conversations": ["a", "b"]},
        {"messages": "[{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}]"},
        {"messages": {"role": ["user", "assistant"], "content": ["a", "b"]}},
        {"messages": [json.dumps(USER), json.dumps(ASSISTANT)]},
    ],
)
def test_other_notations_of_turns_give_the_same_example(tmp_path: Path, row: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"conversations": SHARE}] if "conversations" in row else [])
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    _, rows = read(path)
    assert all(messages(found) == [USER, ASSISTANT] for found in rows)


def test_an_unknown_speaker_names_the_option_that_maps_it_and_it_does(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "Zed ", "value": "b"}]
    path = write(tmp_path / "a.jsonl", [{"conversations": turns}])
    _, (bad,) = read(path)
    assert isinstance(bad, BadRecord)
    assert bad.reason.endswith("say what it is with --role Zed=assistant (or user, system, tool)")
    _, (row,) = read(path, roles={"Zed": "assistant"})
    assert messages(row) == [USER, ASSISTANT]
    with pytest.raises(ConfigError, match="--role Zed=asistant: unknown role 'asistant'; did you"):
        read(path, roles={"Zed": "asistant"})


def test_mapped_speakers_are_part_of_the_dataset_and_of_its_exports(tmp_path: Path) -> None:
    from curate.data.read.stored_layout import layout_of

    turns = [{"from": "human", "value": "a"}, {"from": "zed", "value": "b"}]
    path = write(tmp_path / "a.jsonl", [{"conversations": turns}])
    store = Store(tmp_path / "s.duckdb")
    ingest(store, str(path), IngestOptions(roles={"zed": "assistant"}))
    (dataset,) = store.datasets()
    assert layout_of(dataset).roles == {"zed": "assistant"}
    plain = write(tmp_path / "b.jsonl", [{"messages": [USER, ASSISTANT]}])
    ingest(store, str(plain))
    assert "roles" not in store.datasets()[1].extra["options"]
