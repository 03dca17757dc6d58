"""Lists and objects that texts hold, and what cells of a CSV file become."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from curate.data.notations import listed_in, turns_in, value_in
from curate.data.read.binding import bound_chunks
from curate.data.read.canonical import CanonicalRow, canonical_rows
from curate.data.read.sources import resolve

ASKED, ANSWERED = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
TURNS = [ASKED, ANSWERED]
NUMPY = "[{'role': 'user', 'content': 'a'}\n {'role': 'assistant', 'content': 'b'}]"
OTHER = [ASKED, {"role": "assistant", "content": "c"}]
TOOLS = [{"type": "function", "function": {"name": "f", "strict": True}}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, null]", [1, None]),
        ("3", 3),
        (" ['it''s', \"b\"]", ["its", "b"]),
        ("{'a': None, 'b': True}", {"a": None, "b": True}),
        ("[{'a': '} {'} {'b': \"it's } {\"}]", [{"a": "} {"}, {"b": "it's } {"}]),
        (r"['\d']", [r"\d"]),
        (NUMPY, TURNS),
    ],
)
def test_a_text_holds_what_json_or_python_makes_of_it(text: str, value: Any) -> None:
    assert value_in(text) == value


@pytest.mark.parametrize("text", ["a", "[sic]", "{1, 2}", "[1], [2]", "f(1)", "['a", "[" * 9999])
def test_other_texts_hold_nothing(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        value_in(text)
    assert listed_in(text) is None and turns_in(text) is None


def read(folder: Path, cells: dict[str, str]) -> CanonicalRow:
    path = folder / "pool.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([cells.keys(), cells.values()])
    chunks = bound_chunks(resolve(str(path)))
    (row,) = (row for chunk, layout in chunks for row in canonical_rows(chunk, layout))
    assert isinstance(row, CanonicalRow), row
    return row


@pytest.mark.parametrize(
    "cells",
    [
        {"messages": NUMPY},
        {"prompt": json.dumps([ASKED]), "completion": "b"},
        {"prompt": str([ASKED]), "completion": json.dumps([ANSWERED])},
        {"chosen": str(TURNS), "rejected": str(OTHER)},
        {"prompt": "a", "chosen": NUMPY, "rejected": json.dumps(OTHER)},
        {"prompt": "a", "responses": "['b']"},
        {"messages": str(TURNS), "tools": "null", "chat_template_kwargs": "{}", "images": "[]"},
    ],
)
def test_turns_in_a_cell_are_turns(tmp_path: Path, cells: dict[str, str]) -> None:
    row = read(tmp_path, cells)
    assert (row.messages, row.tools) == (TURNS, None)


@pytest.mark.parametrize(
    "cells",
    [
        {"prompt": "a", "completion": json.dumps(TURNS)},
        {"prompt": "a", "chosen": json.dumps(TURNS), "rejected": "c"},
    ],
)
def test_an_answer_that_looks_like_turns_is_a_text(tmp_path: Path, cells: dict[str, str]) -> None:
    assert read(tmp_path, cells).messages == [ASKED, {**ANSWERED, "content": json.dumps(TURNS)}]


def test_tools_and_template_arguments_are_read_in_python_s_notation(tmp_path: Path) -> None:
    given = {"enable_thinking": False}
    row = read(
        tmp_path,
        {"messages": str(TURNS), "tools": str(TOOLS), "chat_template_kwargs": str(given)},
    )
    assert row.tools == TOOLS
    assert row.messages[0] == {**ASKED, "chat_template_kwargs": given}
