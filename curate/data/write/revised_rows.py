"""Input rows of any container with revised responses instead of their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from curate.contracts.json_values import json_text
from curate.data.messages import MASKS, REASONING_NAMES, turns
from curate.data.read.canonical import CanonicalRow, canonical_rows
from curate.data.read.containers.text_readers import parse_object
from curate.data.read.records import Chunk
from curate.data.read.stored_layout import layout_of
from curate.data.revisions import Revision, Revisions
from curate.data.write.outputs import csv_line
from curate.data.write.row_formats import N_NAMED
from curate.data.write.texts import csv_rows
from curate.errors import DataError

if TYPE_CHECKING:
    from curate.store import Dataset

_RESPONSE: Final[Mapping[str, str]] = {
    "messages": "messages", "sharegpt": "messages", "alpaca": "output",
    "prompt-completion": "completion", "prompt-response": "response", "preference": "chosen",
    "prompt-responses": "responses", "text": "text",
}  # fmt: skip
_DROPPED: Final = (
    "name", "tool_calls", "tool_call_id", "function_call", "weight", "train", *MASKS,
    *REASONING_NAMES,
)  # fmt: skip


def revised_rows(
    dataset: "Dataset",
    positions: Sequence[int],
    raw: pa.Table,
    ids: Sequence[str],
    revisions: Revisions,
) -> pa.Table:
    """Return input rows in which revised responses replace their own.

    All other rows are unchanged, byte for byte. Each revised row is read back: `DataError` names
    those that do not give the revised example, because their columns cannot hold it.

    Parameters
    ----------
    ids
        The example of each row.
    """
    at = [number for number, example in enumerate(ids) if example in revisions]
    if not at:
        return raw
    wanted = [revisions[ids[number]] for number in at]
    try:
        new = _rewritten(dataset, raw.take(pa.array(at)), wanted)
        read = list(_read_back(dataset, [positions[number] for number in at], new))
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise _refusal(dataset, [ids[number] for number in at], str(error)) from error
    wrong = [
        ids[n]
        for n, revision, example_id in zip(at, wanted, read, strict=True)
        if example_id != revision.id
    ]
    if wrong:
        raise _refusal(dataset, wrong, "read back, the row is a different example")
    source = np.arange(len(raw))
    source[at] = len(raw) + np.arange(len(at))
    return pa.concat_tables([raw, new]).take(pa.array(source))


def _rewritten(dataset: "Dataset", old: pa.Table, wanted: Sequence[Revision]) -> pa.Table:
    """Return rows with their responses replaced, in the columns of the stored input."""
    column = dataset.columns[_RESPONSE[dataset.format]]
    if dataset.container in ("json", "jsonl", "csv"):
        records = old["record"].to_pylist()
        is_csv = dataset.container == "csv"
        rows: Sequence[dict[str, Any]] = (
            csv_rows(dataset, old) if is_csv else [parse_object(record) for record in records]
        )
        made = []
        for row, record, revision in zip(rows, records, wanted, strict=True):
            row[column] = _replaced(dataset, row[column], revision.response)
            end = b"\r" if record.endswith(b"\r") else b""
            if is_csv:
                delimiter = dataset.extra["csv"]["delimiter"]
                made.append(csv_line(list(row.values()), delimiter, end="") + end)
            else:
                made.append(json_text(row) + end)
        return pa.Table.from_arrays([pa.array(made, old.schema.types[0])], schema=old.schema)
    place = old.schema.get_field_index(column)
    field = old.schema.field(place)
    values = [
        _replaced(dataset, value, revision.response)
        for value, revision in zip(old[column].to_pylist(), wanted, strict=True)
    ]
    return old.set_column(place, field, pa.chunked_array([pa.array(values, field.type)]))


def _replaced(dataset: "Dataset", value: Any, response: str) -> Any:
    """Return a column's value with another response: text, turns, turns as JSON text, or a list of one."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [response]
    if not isinstance(value, str):
        return _last_replaced(value, response)
    if _RESPONSE[dataset.format] != "messages":
        return response
    return json_text(_last_replaced(turns(value, "messages"), response)).decode()


def _last_replaced(listed: Sequence[Mapping[str, Any]], response: str) -> list[Any]:
    *history, last = listed
    turn = {key: value for key, value in last.items() if key not in _DROPPED}
    turn["content" if turn.get("value") is None else "value"] = response
    return [*history, turn]


def _read_back(dataset: "Dataset", positions: Sequence[int], rows: pa.Table) -> Iterator[str]:
    """Yield the id of the example that each row gives, or why it gives none."""
    parsed: list[dict[str, Any]] | None = None
    if dataset.container == "csv":
        parsed = [dict(row) for row in csv_rows(dataset, rows)]
    elif dataset.container in ("json", "jsonl"):
        parsed = [parse_object(record) for record in rows["record"].to_pylist()]
    numbers = [position + 1 for position in positions]
    batch = rows.combine_chunks().to_batches()[0]
    chunk = Chunk(dataset.name, "row", positions, numbers, batch, parsed)
    for row in canonical_rows(chunk, layout_of(dataset)):
        yield row.identity.id if isinstance(row, CanonicalRow) else row.reason


def _refusal(dataset: "Dataset", ids: Sequence[str], why: str) -> DataError:
    more = ", ..." if len(ids) > N_NAMED else ""
    return DataError(
        f"{len(ids)} revised responses cannot be written into the rows of {dataset.name} "
        f"({', '.join(ids[:N_NAMED])}{more}: {why}); use --to messages"
    )
