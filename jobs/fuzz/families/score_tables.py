"""Tables of scores made elsewhere: any container, any columns."""

import io
from pathlib import Path
from random import Random
from typing import Final

import pyarrow as pa

from curate.data.read.score_table import read_score_table, score_columns
from jobs.fuzz.families import arrow, csv_text, json_text, parquet
from jobs.fuzz.families.compressed import compressed
from jobs.fuzz.family import READ, Attack, Family
from jobs.fuzz.mutations import NUMBERS, damaged, json_bytes, value

_INNER: Final = (arrow.FAMILY, parquet.FAMILY, csv_text.FAMILY, json_text.FAMILY)


def _make(rng: Random) -> Attack:
    if rng.random() < 0.4:
        made = rng.choice(_INNER).make(rng)
        return Attack(made.content, f"s{Path(made.name).suffix}")
    ids = [rng.choice(("0" * 32, "a", 7, None, "007")) for _ in range(rng.randrange(5))]
    if rng.random() < 0.5:
        rows = [{"id": i, "x": rng.choice(NUMBERS), "y": value(rng, 1)} for i in ids]
        content, name = (
            b"\n".join(json_bytes(rng, row).replace(b"\n", b"") for row in rows),
            "s.jsonl",
        )
    else:
        lines = [
            "id,x,y",
            *(f"{i},{rng.choice(NUMBERS)},{rng.choice(('a', '1', ''))}" for i in ids),
        ]
        content, name = "\n".join(lines).encode(), "s.csv"
    if rng.random() < 0.5:
        content = damaged(rng, content)
    if rng.random() < 0.2:
        ending = rng.choice((".gz", ".zst"))
        return Attack(compressed(content, ending), name + ending)
    return Attack(content, name)


def _read(path: Path, folder: Path) -> str:
    del folder
    table = read_score_table(path, ("id", "curate_id", "external_id"))
    key = "id" if "id" in table.column_names else None
    dtypes, values, _ = score_columns(table, key, ())
    made = pa.table({name: values[name] for name in dtypes})
    pa.ipc.new_stream(io.BytesIO(), made.schema).write_table(made)
    made.to_pylist()
    return READ


FAMILY: Final = Family("score-tables", _make, _read)
