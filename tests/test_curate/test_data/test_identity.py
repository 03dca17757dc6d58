"""Canonical JSON, example ids and group ids."""

import json
from hashlib import blake2b
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from curate.data.identity import column_group_id, identify, message_json
from curate.store.records import canonical_json

text = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates included
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
roles = st.sampled_from(["system", "user", "assistant", "tool"])
plain = st.fixed_dictionaries({"content": text, "role": roles})
rich = st.fixed_dictionaries(
    {"role": roles | text},
    optional={"content": text | st.lists(values, max_size=2), "tool_calls": values, "name": text},
)
messages = st.lists(plain | rich, min_size=1, max_size=4)
tools = st.none() | st.lists(st.dictionaries(text, values, max_size=2), min_size=1, max_size=2)


def reference(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    data = reference(value).encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=16).hexdigest()


@given(plain | rich)
def test_the_short_cut_equals_the_encoder(message: dict[str, Any]) -> None:
    assert message_json(message) == reference(message)
    assert canonical_json(message) == reference(message)


@given(messages, tools)
def test_ids_are_hashes_of_the_canonical_json(
    listed: list[dict[str, Any]], listed_tools: list[dict[str, Any]] | None
) -> None:
    found = identify(listed, listed_tools)
    extra = {} if listed_tools is None else {"tools": listed_tools}
    assert found.id == digest({"messages": listed, **extra})
    assert found.group_id == digest({"messages": listed[:-1], **extra})


@given(messages, tools)
def test_stored_json_is_utf8_and_lossless(
    listed: list[dict[str, Any]], listed_tools: list[dict[str, Any]] | None
) -> None:
    found = identify(listed, listed_tools)
    assert json.loads(found.messages.encode()) == listed
    if listed_tools is None:
        assert found.tools is None
    else:
        assert found.tools is not None
        assert json.loads(found.tools.encode()) == listed_tools


def test_stored_json_is_the_canonical_text_where_utf8_can_hold_it() -> None:
    listed = [{"role": "user", "content": "é\n"}, {"role": "assistant", "content": "\u2028ü"}]
    assert identify(listed).messages == reference(listed)


def test_anything_a_model_sees_changes_the_id() -> None:
    base: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    variants = [
        [{"role": "system", "content": "a"}, base[1]],
        [{"role": "user", "content": "a "}, base[1]],
        [{**base[0], "name": "n"}, base[1]],
        [base[0], {**base[1], "reasoning_content": "r"}],
        [base[0], {**base[1], "tool_calls": [{"id": "1"}]}],
        [base[0], {"role": "assistant", "content": [{"type": "text", "text": "b"}]}],
    ]
    ids = {identify(variant).id for variant in [base, *variants]}
    ids.add(identify(base, [{"name": "tool"}]).id)
    assert len(ids) == len(variants) + 2


def test_key_order_does_not_change_the_id() -> None:
    one = [{"role": "assistant", "content": "b"}]
    other = [{"content": "b", "role": "assistant"}]
    assert identify(one) == identify(other)


def test_only_the_last_message_leaves_the_group_alone() -> None:
    asked = {"role": "user", "content": "a"}
    one = identify([asked, {"role": "assistant", "content": "b"}])
    other = identify([asked, {"role": "assistant", "content": "c"}])
    assert one.group_id == other.group_id
    assert one.id != other.id
    assert column_group_id("x") == column_group_id("x") != column_group_id("y")
