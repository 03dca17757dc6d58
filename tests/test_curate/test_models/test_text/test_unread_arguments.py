"""Arguments of rows that the template does not read: counted, named once, with the nearest name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.contracts import Example, Rendering
from curate.models.load import load_tokenizer
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer
from curate.models.text.unread_arguments import UnreadArguments
from curate.scoring.chat_check import _unread_arguments
from curate.train.data import TrainRow, prepare

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if enable_thinking %}!{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
NOTE = (
    "3 examples have arguments in chat_template_kwargs that the chat template does not read, without "
    "effect: 'enable_thinkng' (2; did you mean 'enable_thinking'), 'tone' (2); it reads: "
    "enable_thinking"
)


def talk(**own: Any) -> list[dict[str, Any]]:
    asked: dict[str, Any] = {"role": "user", "content": "two"}
    if own:
        asked["chat_template_kwargs"] = own
    return [asked, {"role": "assistant", "content": "four"}]


TALKS = [
    talk(),
    talk(enable_thinking=False),
    talk(enable_thinkng=False),
    talk(enable_thinkng=True, tone="dry"),
    talk(enable_thinking=True, tone="dry"),
]


def template(tiny_tokenizer: Path) -> ChatTemplate:
    return ChatTemplate(load_tokenizer(str(tiny_tokenizer)), ChatOptions(template=TEMPLATE))


def test_each_name_is_counted_and_said_once(tiny_tokenizer: Path) -> None:
    unread = UnreadArguments(template(tiny_tokenizer))
    assert unread.note() == ""
    for messages in TALKS[:2]:
        unread.see(messages, None)
    assert unread.note() == ""
    for messages in TALKS[2:]:
        unread.see(messages, None)
    assert unread.note() == NOTE


def test_a_template_that_reads_none_says_so(tiny_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    plain = ChatTemplate(tokenizer, ChatOptions(template="{{ messages[0].content }}"))
    unread = UnreadArguments(plain)
    unread.see(talk(tone="dry"), [{"name": "add"}])
    assert unread.note() == (
        "1 example has arguments in chat_template_kwargs that the chat template does not read, "
        "without effect: 'tone' (1); it reads: none"
    )


def test_every_shard_of_a_pool_is_looked_through(tiny_tokenizer: Path, tmp_path: Path) -> None:
    quoted = [{"role": "user", "content": '{"chat_template_kwargs": {"x": 1}}'}, TALKS[0][1]]
    shards = []
    for number, talks in enumerate([TALKS[:3], [], [*TALKS[3:], quoted]]):
        table = pa.table(
            {
                "id": pa.array([f"{number}-{i}" for i in range(len(talks))], pa.string()),
                "messages": pa.array([json.dumps(messages) for messages in talks], pa.string()),
                "tools": pa.nulls(len(talks), pa.string()),
            }
        )
        shards.append(tmp_path / f"{number}.parquet")
        pq.write_table(table, shards[-1])
    assert _unread_arguments(template(tiny_tokenizer), shards) == NOTE


def test_training_says_it_of_its_rows(tiny_tokenizer: Path) -> None:
    renderer = Renderer(load_tokenizer(str(tiny_tokenizer)), None, ChatOptions(template=TEMPLATE))
    rows = [
        TrainRow(f"{n:032x}", Example(f"{n:032x}", tuple(messages)))
        for n, messages in enumerate(TALKS)
    ]
    prepared = prepare(rows, renderer, Rendering("chat"))
    assert not prepared.failures
    assert prepared.describe("training").endswith(f"; warning: {NOTE}")
    assert "warning" not in prepare(rows[:2], renderer, Rendering("chat")).describe("training")
    assert "warning" not in prepare(rows, renderer, Rendering("plain")).describe("training")
