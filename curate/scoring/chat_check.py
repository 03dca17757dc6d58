"""Before a pass by a chat template: what it would lose or not read, and how many rows an example needs."""

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.contracts import Example
from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.contracts.progress import Progress
from curate.errors import ConfigError, ExampleFailure
from curate.models.load import load_tokenizer
from curate.models.text.chat_options import reasoning_question
from curate.models.text.render import Renderer
from curate.models.text.said import REASONING_NOT_RENDERED
from curate.models.text.templates import CHAT
from curate.models.text.unread_arguments import UnreadArguments

if TYPE_CHECKING:
    from pathlib import Path

    from curate.models.load import ResolvedModel
    from curate.models.text.chat import ChatTemplate
    from curate.scoring.plan import Pass

TRIED: Final = 256  # examples rendered to find out
_REASONING: Final = ('"reasoning_content"', "</think>")
_ARGUMENTS: Final = (f'"{TEMPLATE_ARGUMENTS}"',)


def check_chat(passes: Sequence["Pass"], shards: Sequence["Path"], progress: Progress) -> None:
    """Say what a chat template does with the examples, and stop where it would lose reasoning.

    Reads the messages of every shard where a pass uses a chat template, once for reasoning and once
    for template arguments; renders 256 examples.
    Raises `ConfigError` with the number of examples that have reasoning, unless the user chose what
    becomes of it.
    """
    seen: set[ResolvedModel] = set()
    for pass_ in passes:
        asked = {r.turns for r in pass_.renderings if r.template == CHAT}
        if pass_.model is None or not asked or pass_.model in seen:
            continue
        turns = "all" if "all" in asked else "last"
        seen.add(pass_.model)
        chat = _template(pass_)
        if note := chat.note():
            progress.note(note)
        if chat.options.reasoning is None:
            _check_reasoning(chat, turns, pass_.model.name, shards)
        if note := _unread_arguments(chat, shards):
            progress.note(f"warning: {note}")
        if (rows := _rows_per_example(chat, turns, shards)) > 1:
            progress.note(rows_note(rows))


def rows_note(rows: float) -> str:
    """Say how many rows an example needs."""
    return (
        f"{rows:.1f} rows an example: the chat template rewrites history, so that turns run in "
        "contexts of their own"
    )


def _template(pass_: "Pass") -> "ChatTemplate":
    assert pass_.model is not None
    tokenizer = load_tokenizer(pass_.model.path)
    return Renderer(tokenizer, pass_.model.max_length, pass_.model.chat).chat


def _check_reasoning(
    chat: "ChatTemplate", turns: str, model: str, shards: Sequence["Path"]
) -> None:
    n_reasoning = n_tried = n_lost = 0
    for examples in _with_any(_REASONING, shards):
        n_reasoning += len(examples)
        for example in _examples(examples.slice(0, max(0, TRIED - n_tried))):
            n_tried += 1
            try:
                chat.rows(example, turns)
            except ExampleFailure as failure:
                n_lost += failure.reason == REASONING_NOT_RENDERED
    if n_lost:
        raise ConfigError(reasoning_question(round(n_reasoning * n_lost / n_tried), model))


def _unread_arguments(chat: "ChatTemplate", shards: Sequence["Path"]) -> str:
    unread = UnreadArguments(chat)
    for batch in _with_any(_ARGUMENTS, shards):
        for example in _examples(batch):
            unread.see(example.messages, example.tools)
    return unread.note()


def _with_any(signs: Sequence[str], shards: Sequence["Path"]) -> Iterator[pa.RecordBatch]:
    """Yield the examples whose messages, as JSON, have one of some texts in them."""
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(columns=["id", "messages", "tools"]):
            hits = [pc.match_substring(batch.column("messages"), sign) for sign in signs]
            kept = batch.filter(reduce(pc.or_, hits))
            if len(kept):
                yield kept


def _examples(batch: pa.RecordBatch) -> Iterator[Example]:
    for record in batch.to_pylist():
        tools = record["tools"]
        yield Example(
            record["id"],
            tuple(json.loads(record["messages"])),
            tuple(json.loads(tools)) if tools else None,
        )


def _rows_per_example(chat: "ChatTemplate", turns: str, shards: Sequence["Path"]) -> float:
    """Return the mean number of rows of the first examples that can be rendered."""
    counts = []
    for shard in shards[:1]:
        batch = next(pq.ParquetFile(shard).iter_batches(TRIED, columns=["id", "messages", "tools"]))
        for example in _examples(batch):
            try:
                counts.append(len(chat.rows(example, turns)))
            except ExampleFailure:
                continue
    return sum(counts) / len(counts) if counts else 0.0
