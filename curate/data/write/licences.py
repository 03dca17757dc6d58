"""The licence each input row names, where the input has a column for it."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from curate.data.read.containers.text_readers import parse_object
from curate.data.write.texts import csv_rows
from curate.store.pool.raw import csv_fields

if TYPE_CHECKING:
    from curate.store import Dataset

COLUMNS: Final = ("license", "licence", "licenses", "licences")  # in any case
MAX_LENGTH: Final = 200


def licences_of(dataset: "Dataset", raw: pa.Table) -> list[str]:
    """Return the licence of each stored input row as its text, "" where it names none.

    Looks at the row's own columns, not inside nested ones. Texts are cut at `MAX_LENGTH`.
    """
    if dataset.container in ("json", "jsonl"):
        return [_of_record(record) for record in raw["record"].to_pylist()]
    if dataset.container == "csv":
        dialect = dataset.extra["csv"]
        name = _column(csv_fields(dialect["header"], dialect["delimiter"]))
        return [""] * len(raw) if name is None else [_text(r[name]) for r in csv_rows(dataset, raw)]
    name = _column(raw.schema.names)
    return [""] * len(raw) if name is None else [_text(value) for value in raw[name].to_pylist()]


def _of_record(record: bytes) -> str:
    if b"licen" not in record.lower():
        return ""
    row: Mapping[str, Any] = parse_object(record)
    return _text(row.get(_column(list(row)) or ""))


def _column(names: Sequence[str]) -> str | None:
    return next((name for name in names if name.strip(' "').lower() in COLUMNS), None)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(sorted(_text(item) for item in value))[:MAX_LENGTH]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.strip()[:MAX_LENGTH]
