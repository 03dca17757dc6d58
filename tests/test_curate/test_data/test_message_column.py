"""Conversations as lists of structs: what each message says is kept."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import curate as cu
from curate.data.message_column import message_column

PLAIN = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": [1]}}}
CALLING = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "content": "3", "tool_call_id": "1", "name": "f"},
    {"role": "assistant", "content": "three", "weight": 0},
]
IMAGE = {"type": "image_url", "image_url": {"url": "http://x"}}
SEEING = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "what?"}]}, PLAIN[1]]


def column(*conversations):
    return message_column([json.dumps(turns) for turns in conversations])


def said(message):
    return {name: value for name, value in message.items() if value is not None}


def test_plain_conversations_have_role_and_content_alone():
    made = column(PLAIN, PLAIN[1:], [])
    assert made.type == pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    assert made.to_pylist() == [PLAIN, PLAIN[1:], []]
    assert column().type == made.type


def test_calls_results_reasoning_and_weights_are_kept():
    plain, calling = column(PLAIN, CALLING).to_pylist()
    assert [said(message) for message in plain] == PLAIN
    call = {**CALL, "function": {"name": "f", "arguments": '{"x": [1]}'}}
    assert said(calling[1]) == {**CALLING[1], "tool_calls": [call]}
    assert [said(message) for message in (calling[0], *calling[2:])] == [CALLING[0], *CALLING[2:]]


def test_where_any_content_has_parts_all_have():
    plain, seeing = column(PLAIN, SEEING).to_pylist()
    assert [said(part) for part in seeing[0]["content"]] == SEEING[0]["content"]
    assert [said(part) for part in plain[0]["content"]] == [{"type": "text", "text": "a"}]


def test_objects_of_different_shape_are_their_json():
    first = {**PLAIN[0], "chat_template_kwargs": {"think": True}}
    second = {**PLAIN[0], "chat_template_kwargs": {"depth": 2}}
    found = [turns[0]["chat_template_kwargs"] for turns in column([first], [second]).to_pylist()]
    assert [json.loads(text) for text in found] == [{"think": True}, {"depth": 2}]
    assert column([first]).to_pylist()[0][0]["chat_template_kwargs"] == {"think": True}


def test_half_of_a_surrogate_pair_is_replaced():
    assert (
        column([{"role": "user", "content": "a \ud83d"}]).to_pylist()[0][0]["content"] == "a \ufffd"
    )


def test_frames_and_files_of_a_pool_hold_lists_and_sql_holds_json(tmp_path):
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    pool.ingest([{"messages": PLAIN}, {"messages": CALLING}])
    chosen = pool.select(rank="n_chars", budget=2)
    assert chosen[0]["messages"][1]["reasoning_content"] == "hm"
    for frame in (chosen.to_polars(), pool.examples().to_polars(), chosen.examples().to_polars()):
        assert isinstance(frame.schema["messages"], pl.List)
    assert chosen.to_pandas()["messages"][0][3]["content"] == "three"
    assert [message["role"] for message in chosen.to_dataset()[1]["messages"]] == [
        "user",
        "assistant",
    ]
    assert chosen.to_dataset(to="prompt-completion")[0]["completion"][0]["content"] == "three"
    assert (
        json.loads(pool.sql("select messages from examples order by n_chars")["messages"][0])
        == PLAIN
    )
    pool.export(chosen, tmp_path / "out.parquet", to="messages")
    written = pq.read_table(tmp_path / "out.parquet")
    assert pa.types.is_list(written.schema.field("messages").type)
    assert written["messages"][0].as_py()[1]["reasoning_content"] == "hm"
