"""Target sets and benchmarks: the files of datasets, of which every text is read."""

from pathlib import Path
from random import Random
from typing import Final

from curate.data.read.benchmarks import benchmark_texts
from curate.data.read.ingest import IngestOptions
from curate.data.read.sources import resolve
from jobs.fuzz.families import arrow, chat_rows, compressed, csv_text, json_text, parquet
from jobs.fuzz.family import READ, Attack, Family

_INNER: Final = (
    json_text.FAMILY, csv_text.FAMILY, parquet.FAMILY, arrow.FAMILY, compressed.FAMILY, chat_rows.FAMILY,
)  # fmt: skip
_ADDED: Final = 24  # of as many, one becomes a target set of a store


def _make(rng: Random) -> Attack:
    return rng.choice(_INNER).make(rng)


def _read(path: Path, folder: Path) -> str:
    if path.stat().st_size % _ADDED == 0:
        import curate as cu
        from curate.data.read.target import add_target

        pool = cu.open(folder / "curate.duckdb", create=True)
        add_target(pool.store, "dev", [str(path)], IngestOptions(on_error="skip"))
        return READ
    for block in benchmark_texts(resolve(str(path))):
        "".join(block.texts)
    return READ


FAMILY: Final = Family("targets", _make, _read)
