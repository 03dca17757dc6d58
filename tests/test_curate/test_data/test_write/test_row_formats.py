"""What goes with --lossy is no more than what the format refuses, and it is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from exported import bring, export, select
from hypothesis import given
from hypothesis import strategies as st

from curate.data.messages import RowError
from curate.data.write.dialects import DIALECTS
from curate.data.write.row_formats import ROW_FORMATS, Tally, tally_lines
from curate.data.write.trainers.known import TRAINERS
from curate.errors import DataError
from curate.store import Store

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
IMAGE = {"type": "image", "image": "x"}
FORMATS = [
    *ROW_FORMATS.values(),
    *(one for trainer in TRAINERS.values() for one in trainer.formats.values()),
]

text = st.text(max_size=6)
contents = st.one_of(
    text,
    st.lists(
        st.one_of(text.map(lambda words: {"type": "text", "text": words}), st.just(IMAGE)),
        max_size=3,
    ),
)


@st.composite
def messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Any canonical conversation that ends with the assistant, in any order of roles."""
    roles = draw(st.lists(st.sampled_from(["user", "assistant", "tool"]), max_size=5))
    found = [{"role": "system", "content": draw(text)}] if draw(st.booleans()) else []
    for role in ["user", *roles, "assistant"]:
        message: dict[str, Any] = {"role": role}
        calls = role == "assistant" and draw(st.booleans())
        if calls:
            message["tool_calls"] = [CALL] * draw(st.integers(1, 2))
        if not calls or draw(st.booleans()):
            message["content"] = draw(contents)
        if draw(st.booleans()):
            message["name"] = "ann"
        if role == "assistant" and draw(st.booleans()):
            message["reasoning_content"] = "because"
        found.append(message)
    return found


@given(messages(), st.sampled_from([None, TOOLS]))
@pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.name)
def test_what_is_left_always_fits_and_what_fits_is_left(
    written: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> None:
    kept, left, lost = written.reduce(messages, tools)
    reduced = written.convert(kept, left)
    try:
        whole = written.convert(messages, tools)
    except RowError:
        assert lost, "what strict refuses goes with a word"
    else:
        assert reduced == whole
        assert lost == []


@pytest.mark.parametrize("written", FORMATS, ids=lambda written: written.name)
def test_odd_arguments_and_a_response_alone_go_with_a_word_too(written: Any) -> None:
    odd = [{"function": {"name": "f", "arguments": text}} for text in ("{'x': 1}", "", "[1]")]
    for messages in (
        [{"role": "assistant", "content": "words"}],
        [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": odd}],
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [odd[0]["function"]]},
        ],
    ):
        kept, left, lost = written.reduce(messages, None)
        reduced = written.convert(kept, left)
        try:
            assert (written.convert(messages, None), lost) == (reduced, [])
        except RowError:
            assert lost, "what strict refuses goes with a word"


def asked(*turns: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "q"}, *turns]


@pytest.mark.parametrize(
    ("to", "messages", "tools", "row", "lost"),
    [
        (
            "prompt-completion",
            [
                {"role": "system", "content": "s"},
                *asked({"role": "assistant", "content": "a"}),
                {"role": "user", "content": "q2"},
                {"role": "assistant", "content": "a2"},
            ],
            None,
            {"prompt": "q2", "completion": "a2"},
            ["a system message", "more than one turn"],
        ),
        (
            "alpaca",
            asked(
                {"role": "assistant", "content": "let me see", "tool_calls": [CALL]},
                {"role": "tool", "content": "1"},
                {"role": "assistant", "content": "one"},
            ),
            TOOLS,
            {"instruction": "q", "input": "", "output": "one"},
            ["tools", "tool calls", "tool calls", "turns that do not alternate"],
        ),
        (
            "alpaca",
            asked({"role": "assistant", "tool_calls": [CALL]}),
            None,
            {"instruction": "q", "input": "", "output": json.dumps(CALL, sort_keys=True)},
            ["tool calls"],
        ),
        (
            "sharegpt",
            asked({"role": "assistant", "content": [{"type": "text", "text": "a"}, IMAGE]}),
            None,
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            ["content that is not text"],
        ),
    ],
)
def test_the_least_goes(
    to: str, messages: list[Any], tools: Any, row: dict[str, Any], lost: list[str]
) -> None:
    kept, left, went = ROW_FORMATS[to].reduce(messages, tools)
    assert DIALECTS[to](kept, left) == row
    assert went == lost


def test_a_tally_names_the_first_rows_and_the_frequent_first() -> None:
    tally = Tally()
    tally.add("a", "tools")
    for i in range(5):
        tally.add(f"b{i}", "a name")
    assert tally_lines(tally.rows()) == [
        "a name: 5 rows (b0, b1, b2, ...)",
        "tools: 1 row (a)",
    ]


# In an export ------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def written(store: Store, path: Path, **options: Any) -> tuple[list[Any], Any]:
    report = export(store, path, **options)
    return [json.loads(line) for line in path.read_text().splitlines()], report


def test_a_preference_pair_is_refused_by_name_and_its_better_half_is_written_with_lossy(
    store: Store, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(5)]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ids = select(store)
    for to in ("messages", "sharegpt", "alpaca", "prompt-completion"):
        with pytest.raises(DataError) as caught:
            export(store, tmp_path / "b.jsonl", to=to)
        named = ", ".join(f"{i} has a rejected response" for i in ids[:3])
        assert str(caught.value) == (
            f"5 of 5 rows cannot be written as {to} ({named}, ...); use --to input, or --lossy to "
            "write what fits"
        )
    found, report = written(store, tmp_path / "b.jsonl", to="prompt-completion", lossy=True)
    assert found[0] == {"prompt": "p0", "completion": "c0"}
    assert report.lost == [{"what": "a rejected response", "n_rows": 5, "first": ids[:3]}]
    found, report = written(store, tmp_path / "c.jsonl")
    assert (found, report.lost) == (rows, [])


def test_lossy_says_nothing_of_rows_that_fit(store: Store, tmp_path: Path) -> None:
    rows = [
        {"messages": asked({"role": "assistant", "content": "a"})},
        {"messages": asked({"role": "assistant", "content": "b", "name": "bob"})},
    ]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ids = select(store)
    with pytest.raises(DataError, match=r"1 of 2 rows .* has a name\); use --to messages, or --l"):
        export(store, tmp_path / "b.jsonl", to="alpaca")
    found, report = written(store, tmp_path / "b.jsonl", to="alpaca", lossy=True)
    assert [row["output"] for row in found] == ["a", "b"]
    assert report.lost == [{"what": "a name", "n_rows": 1, "first": [ids[1]]}]
