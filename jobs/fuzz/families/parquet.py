"""Parquet: every type, codec and page version, with pages, statistics and footers damaged."""

import io
from random import Random
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.families.tables import table
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import damaged


def _make(rng: Random) -> Attack:
    if rng.random() < 0.001:
        return Attack(_wide(), "a.parquet")
    content = _written(rng)
    if rng.random() < 0.3:  # the footer, where everything else is found
        at = max(0, len(content) - int.from_bytes(content[-8:-4], "little") - 8)
        return Attack(content[:at] + damaged(rng, content[at:]), "a.parquet")
    return Attack(damaged(rng, content) if rng.random() < 0.5 else content, "a.parquet")


def _written(rng: Random) -> bytes:
    while True:
        made = table(rng)
        sink = io.BytesIO()
        try:
            pq.write_table(
                made, sink,
                compression=rng.choice(("none", "snappy", "zstd", "gzip", "lz4", "brotli")),
                row_group_size=rng.choice((1, 7, 1_000)),
                use_dictionary=rng.random() < 0.5,
                data_page_version=rng.choice(("1.0", "2.0")),
                write_page_checksum=rng.random() < 0.5,
                write_page_index=rng.random() < 0.5,
            )  # fmt: skip
        except (pa.ArrowException, OverflowError):  # not every type has a place in Parquet
            continue
        return sink.getvalue()


def _wide() -> bytes:
    wide = pa.table({f"c{i}": ["a"] for i in range(100_000)})
    sink = io.BytesIO()
    pq.write_table(wide, sink)
    return sink.getvalue()


FAMILY: Final = Family("parquet", _make, read_dataset)
