"""Responses that replace others, in examples and in their notebook views."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

from curate.contracts import Example
from curate.data.identity import identify
from curate.data.messages import Message
from curate.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store


@final
@dataclass(frozen=True, slots=True)
class Revision:
    """A response, and the id of the example that has it."""

    id: str
    response: str


Revisions: TypeAlias = Mapping[str, Revision]  # by the id of the example whose response it replaces


def revisions_of(store: "Store", selection_id: str) -> dict[str, Revision]:
    """Return the revisions of a selection; most have none."""
    rows = store.revisions(selection_id).to_pylist()
    return {row["parent_id"]: Revision(row["id"], row["response"]) for row in rows}


def refuse_revised(store: "Store", names: Sequence[str], purpose: str) -> None:
    """Raise `ConfigError` if any of the names is the id of a selection with revised responses.

    For uses that need the pool's own responses. Other names are ignored.
    """
    if not names:
        return
    counts = store.read("select selection_id, count(*) as n from revisions group by 1").to_pylist()
    revised = {row["selection_id"]: row["n"] for row in counts}
    for selection_id in names:
        if selection_id in revised:
            raise ConfigError(
                f"selection {selection_id} has {revised[selection_id]:,} revised responses, which are "
                f"not in the pool: {purpose} would use the originals; read it as a new dataset "
                f"first: curate ingest --from-selection {selection_id}"
            )


def revised_example(example: Example, response: str) -> Example:
    """Return an example with another response, under the id of its new content."""
    messages = tuple(revised_messages(example.messages, response))
    return replace(example, id=identify(messages, example.tools).id, messages=messages)


def revised_messages(messages: Sequence[Mapping[str, Any]], response: str) -> list[Message]:
    """Return messages in which the last one is replaced by a text, keeping only its role."""
    *history, last = messages
    return [*(dict(message) for message in history), {"content": response, "role": last["role"]}]


def with_revisions(rows: "pa.Table", revisions: Revisions) -> "pa.Table":
    """Replace ``messages`` (JSON) and ``response`` of the examples that have a revision, by ``id``."""
    import pyarrow as pa

    if not revisions:
        return rows
    columns = {name: rows[name].to_pylist() for name in ("messages", "response")}
    for number, example in enumerate(rows["id"].to_pylist()):
        if example in revisions:
            response = revisions[example].response
            turns = revised_messages(json.loads(columns["messages"][number]), response)
            columns["messages"][number] = identify(turns).messages
            columns["response"][number] = response
    for name, values in columns.items():
        field = rows.schema.field(name)
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, field, pa.array(values, field.type))
    return rows
