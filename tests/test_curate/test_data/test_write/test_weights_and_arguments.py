"""Turns that are not trained on and template arguments: written where a format has a place."""

from typing import Any

import pytest

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.data.messages import RowError
from curate.data.write.row_formats import ROW_FORMATS
from curate.data.write.trainers.known import get_trainer

MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "2+2?", TEMPLATE_ARGUMENTS: {"enable_thinking": False}},
    {"role": "assistant", "content": "5", "weight": 0},
    {"role": "user", "content": "No."},
    {"role": "assistant", "content": "4"},
]
WEIGHT, ARGUMENTS = "a turn that is not trained on", "arguments of a chat template"


def test_messages_hold_both() -> None:
    row = ROW_FORMATS["messages"].convert(MESSAGES, None)
    assert row[TEMPLATE_ARGUMENTS] == {"enable_thinking": False}
    assert row["messages"][1] == {"role": "assistant", "content": "5", "weight": 0}
    assert row["messages"][0] == {"role": "user", "content": "2+2?"}


def test_sharegpt_holds_the_weight_of_a_turn() -> None:
    with pytest.raises(RowError, match=ARGUMENTS):
        ROW_FORMATS["sharegpt"].convert(MESSAGES, None)
    kept, tools, lost = ROW_FORMATS["sharegpt"].reduce(MESSAGES, None)
    assert lost == [ARGUMENTS]
    row = ROW_FORMATS["sharegpt"].convert(kept, tools)
    assert row["conversations"][1] == {"from": "gpt", "value": "5", "weight": 0}


FORMATS = [
    ROW_FORMATS["alpaca"],
    *(
        one
        for name in ("llama-factory", "axolotl", "trl")
        for one in get_trainer(name).formats.values()
    ),
]


@pytest.mark.parametrize("layout", FORMATS, ids=lambda layout: layout.name)
def test_other_formats_refuse_both_or_report_what_is_lost(layout: Any) -> None:
    for messages in (MESSAGES, [{"role": "user", "content": "2+2?"}, *MESSAGES[1:]]):
        with pytest.raises(RowError, match=f"{WEIGHT}|{ARGUMENTS}"):
            layout.convert(messages, None)
    kept, tools, lost = layout.reduce(MESSAGES, None)
    assert {WEIGHT, ARGUMENTS} <= {*lost, WEIGHT} and ARGUMENTS in lost
    layout.convert(kept, tools)
