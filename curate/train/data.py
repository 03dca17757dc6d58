"""The rows of a run: from a store, a selection or a file, rendered once and counted."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from curate.contracts import Example
from curate.data.revisions import revised_example, revisions_of
from curate.errors import ConfigError, DataError
from curate.models.files import text_hash
from curate.models.text.chat_options import reasoning_question
from curate.models.text.render import Rendered
from curate.models.text.said import REASONING_NOT_RENDERED
from curate.models.text.templates import CHAT
from curate.models.text.unread_arguments import UnreadArguments

if TYPE_CHECKING:
    from curate.contracts import Rendering
    from curate.models.text.render import Renderer
    from curate.store import Store

RENDER_BLOCK: Final = 512
SAMPLED_SHARDS: Final = 16
ZERO_WEIGHT: Final = "zero_weight"


@final
@dataclass(frozen=True, slots=True)
class TrainRow:
    """One example to train on or to evaluate on.

    Parameters
    ----------
    id
        Of the example.
    example
        Its messages.
    weight
        Factor on its loss, not negative; only ratios between rows matter.
    source
        Dataset it came from; what a mixture draws from.
    """

    id: str
    example: Example
    weight: float = 1.0
    source: str = ""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Rows as the model sees them, sorted by id so that their input order does not matter.

    Parameters
    ----------
    rows, rendered
        Usable rows, and their tokens.
    failures
        Rows left out, by reason.
    remark
        What else the user should know about the rows, or "".
    """

    rows: Sequence[TrainRow]
    rendered: Sequence[Rendered]
    failures: Mapping[str, int] = field(default_factory=dict)
    remark: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens fed per example, prompts and responses of all its rows."""
        return np.array([len(example.ids) for example in self.rendered], dtype=np.int64)

    @property
    def n_targets(self) -> Int[np.ndarray, " n"]:
        """Response tokens per row, ends of turns included."""
        return np.array([len(example.targets) for example in self.rendered], dtype=np.int64)

    @property
    def n_rows(self) -> Int[np.ndarray, " n"]:
        """Rows run per example: more than one where a chat template rewrites history."""
        return np.array([len(example.starts) for example in self.rendered], dtype=np.int64)

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Training weight per row."""
        return np.array([row.weight for row in self.rows], dtype=np.float64)

    @property
    def n_truncated(self) -> int:
        """Rows that were cut to fit."""
        return sum(example.truncated for example in self.rendered)

    @property
    def fingerprint(self) -> str:
        """Hash of the ids and weights, whatever the order."""
        return text_hash("\n".join(f"{row.id} {row.weight!r}" for row in self.rows))

    def describe(self, what: str) -> str:
        """Describe in one line what is there and what was left out."""
        text = f"{what}: {len(self)} rows, {int(self.lengths.sum())} tokens"
        if int(self.n_rows.max()) > 1:
            text += f", {self.n_rows.mean():.1f} rows an example (turns in contexts of their own)"
        if self.n_truncated:
            text += f", {self.n_truncated} cut to fit"
        if self.failures:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.failures.items())
            text += f"; {sum(self.failures.values())} left out ({reasons})"
        return f"{text}; warning: {self.remark}" if self.remark else text


def prepare(
    rows: Sequence[TrainRow], renderer: "Renderer", rendering: "Rendering", what: str = "training"
) -> Prepared:
    """Render all rows once.

    A row that cannot be rendered, or has weight 0, is left out and counted by reason. Raises
    `DataError` for no rows, a negative or non-finite weight, and when nothing is left; `ConfigError`
    where the chat template would lose reasoning and the user did not choose what becomes of it.
    """
    if not rows:
        raise DataError(f"there are no {what} rows; select or name some examples first")
    for row in rows:
        if not (np.isfinite(row.weight) and row.weight >= 0):
            raise DataError(
                f"the weight of example {row.id} is {row.weight!r}; give a number of at least 0"
            )
    failures: Counter[str] = Counter()
    kept: list[TrainRow] = []
    rendered: list[Rendered] = []
    ordered = sorted(rows, key=lambda row: row.id)
    for start in range(0, len(ordered), RENDER_BLOCK):
        block = ordered[start : start + RENDER_BLOCK]
        made = renderer.render([row.example for row in block], rendering)
        for row, result in zip(block, made, strict=True):
            if isinstance(result, str):
                failures[result] += 1
            elif row.weight == 0:
                failures[ZERO_WEIGHT] += 1
            else:
                kept.append(row)
                rendered.append(result)
    if failures[REASONING_NOT_RENDERED] and renderer.options.reasoning is None:
        raise ConfigError(
            reasoning_question(failures[REASONING_NOT_RENDERED], renderer.tokenizer.name_or_path)
        )
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in failures.items())
        raise DataError(
            f"none of the {len(rows)} {what} rows can be used ({reasons}); "
            "check the template and max_length"
        )
    remark = ""
    if rendering.template == CHAT:
        unread = UnreadArguments(renderer.chat)
        for row in kept:
            unread.see(row.example.messages, row.example.tools)
        remark = unread.note()
    return Prepared(kept, rendered, dict(failures), remark)


def rows_of_selection(store: "Store", selection_id: str) -> list[TrainRow]:
    """Return the rows of a selection with their weights (1 where it has none), best first.

    A row whose response was revised has the new response, and the id of the new example. Raises
    `DataError` for an unknown or empty selection, and for one whose examples left the pool.
    """
    table = store.selection_rows(selection_id)
    ids = table.column("id").to_pylist()
    if not ids:
        raise DataError(f"selection {selection_id} is empty; select again with a larger budget")
    weights = [
        1.0 if weight is None else float(weight) for weight in table.column("weight").to_pylist()
    ]
    by_id = {row.id: row for row in _read(store, set(ids))}
    missing = [i for i in ids if i not in by_id]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(ids)} examples of selection {selection_id} are no longer in "
            f"the pool (first: {missing[0]}); select again"
        )
    revised = {
        i: revised_example(by_id[i].example, revision.response)
        for i, revision in revisions_of(store, selection_id).items()
    }
    examples = [revised.get(i, by_id[i].example) for i in ids]
    return [
        TrainRow(example.id, example, weight, by_id[i].source)
        for i, example, weight in zip(ids, examples, weights, strict=True)
    ]


def rows_of_pool(store: "Store") -> list[TrainRow]:
    """Return every example of the pool, with weight 1."""
    return list(_read(store, None))


def rows_of_data(data: str, *, split: str = "train") -> list[TrainRow]:
    """Read a file, folder or hub dataset without a store; equal rows are kept as often as they occur.

    Raises `DataError` that names the file and the row for anything that cannot be used.
    """
    from curate.data.read.binding import bound_chunks
    from curate.data.read.canonical import canonicalise, example_batch
    from curate.data.read.sources import resolve

    source = resolve(data, split)
    rows: list[TrainRow] = []
    for chunk, layout in bound_chunks(source):
        converted = canonicalise(chunk, layout)
        if converted.bad:
            raise DataError(f"{converted.bad[0].place}: {converted.bad[0].reason}")
        batch = example_batch(chunk, layout, converted, None, source.label)
        rows += rows_from_records(batch.to_pylist())
    return rows


_COLUMNS: Final = ("id", "messages", "tools", "source", "input_at")


def _read(store: "Store", ids: set[str] | None) -> Iterator[TrainRow]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from curate.store.parts import open_parquet, present

    wanted = None if ids is None else pa.array(sorted(ids), pa.string())
    for shard in store.shards():
        with open_parquet(shard.path) as file:
            for batch in file.iter_batches(RENDER_BLOCK, columns=present(file, _COLUMNS)):
                if wanted is not None:
                    batch = batch.filter(pc.is_in(batch.column("id"), wanted))
                yield from rows_from_records(batch.to_pylist())


def rows_from_records(records: Sequence[Mapping[str, Any]]) -> Iterator[TrainRow]:
    """Yield a row per record with ``id, messages, tools, source``, the JSON columns of a shard."""
    for record in records:
        example_id, messages = record["id"], record["messages"]
        assert example_id is not None and messages is not None
        tools = record["tools"]
        example = Example(
            example_id,
            tuple(json.loads(messages)),
            tuple(json.loads(tools)) if tools else None,
            record.get("input_at"),
        )
        yield TrainRow(example_id, example, source=record["source"] or "")


def sample_rows(store: "Store", datasets: Sequence[str] | None, size: int) -> list[TrainRow]:
    """Return up to about ``size`` examples of the pool, evenly spaced; `ConfigError` if it is empty."""
    import pyarrow.parquet as pq

    shards = store.shards(datasets)
    if not shards:
        raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
    count = min(SAMPLED_SHARDS, len(shards))
    rows: list[TrainRow] = []
    for shard in [shards[i * len(shards) // count] for i in range(count)]:
        table = pq.read_table(shard.path, columns=["id", "messages", "tools", "source"])
        n = min(table.num_rows, -(-size // count))
        picked = table.take(np.linspace(0, table.num_rows - 1, n).astype(int))
        rows += rows_from_records(picked.to_pylist())
    return rows
