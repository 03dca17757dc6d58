"""Responses that replace others, in examples and in what notebooks see of them."""

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
    """Return the revisions of a selection, none for most."""
    rows = store.revisions(selection_id).to_pylist()
    return {row["parent_id"]: Revision(row["id"], row["response"]) for row in rows}


def refuse_revised(store: "Store", selection_ids: Sequence[str], purpose: str) -> None:
    """Raise `ConfigError` if selections have revised responses, where only the pool's own can be used."""
    for one in selection_ids:
        n = store.revisions(one).num_rows
        if n:
            raise ConfigError(
                f"selection {one} has {n:,} revised responses, which are not in the pool: {purpose} "
                "would use the originals; read it as a dataset of its own first: curate ingest "
                f"--from-selection {one}"
            )


def revised_among(store: "Store", names: Sequence[str]) -> list[str]:
    """Return those of some names that are ids of selections with revised responses."""
    if not names:
        return []
    known = store.query("select distinct selection_id from revisions")["selection_id"].to_pylist()
    return [one for one in names if one in set(known)]


def revised_example(example: Example, response: str) -> Example:
    """Return an example with a text in the place of its response, under the id of its content."""
    messages = tuple(revised_messages(example.messages, response))
    return replace(example, id=identify(messages, example.tools).id, messages=messages)


def revised_messages(messages: Sequence[Mapping[str, Any]], response: str) -> list[Message]:
    """Return messages with a text in the place of the last one, of which only the role stays."""
    *history, last = messages
    return [*(dict(one) for one in history), {"content": response, "role": last["role"]}]


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
