"""Write a selection to a file: the input's rows unchanged, or another dialect or container."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np
import pyarrow as pa

from curate.data.dialects import DIALECTS
from curate.data.encoders import Encoder, encoder_for
from curate.data.outputs import (
    Written,
    check_folder,
    open_output,
    table_of,
    whole_or_nothing,
    write_arrow,
    write_csv,
    write_json_array,
    write_lines,
    write_parquet,
    write_shards,
)
from curate.data.sources import KNOWN, compression_of, container_of
from curate.data.spool import Spool
from curate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from curate.store import Dataset, Store

_FETCHED: Final = 4096  # input rows in memory at once

Target = Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"]


@final
@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write a selection.

    Parameters
    ----------
    to
        ``input`` keeps each row as it was; the others are dialects of canonical messages.
    order
        ``rank``: best first. ``input``: by dataset, then by position.
    annotate
        Append ``curate_id, curate_rank, curate_gain, curate_weight, curate_reason``.
    keep_duplicates
        Write every row of an example instead of its first.
    """

    to: Target = "input"
    order: Literal["rank", "input"] = "rank"
    annotate: bool = False
    keep_duplicates: bool = False


@final
@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written: size in bytes, SHA-256 over all files in order, and the columns."""

    path: Path
    n_rows: int
    n_bytes: int
    sha256: str
    container: str
    columns: tuple[str, ...]


def export_selection(
    store: "Store", selection_id: str, output: Path, options: ExportOptions | None = None
) -> ExportReport:
    """Write the rows of a selection to ``output``, whole or not at all.

    The extension chooses the container: .jsonl, .json, .csv, .parquet or .arrow, each also with
    .gz or .zst; without an extension, or for a folder, Parquet shards. Rows are read once in input
    order and put into output order on disk, so memory does not grow with the selection.

    Raises
    ------
    DataError
        Rows of datasets with different columns (use ``to="messages"``), rows the dialect or the
        container cannot hold, an unknown extension, a place that cannot be written.
    StoreError
        The disk is full.
    """
    options = options or ExportOptions()
    _check(options)
    container = check_output(output)
    rows = store.selection_rows(selection_id)
    plan = _Plan.of(store, rows, options)
    encoder = encoder_for(plan.datasets, options.to, container, annotate=options.annotate)
    with whole_or_nothing(output) as temporary:
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        spool = Spool(folder, plan.n_rows)
        try:
            for table, places in _encoded(store, plan, rows, encoder):
                spool.add(table, places)
            encoder.finish(plan.n_rows)
            written = _write(spool.tables(), temporary, output, container, encoder)
        finally:
            spool.close()
            shutil.rmtree(folder)
    return ExportReport(
        output, plan.n_rows, written.n_bytes, written.digest.hexdigest(), container,
        encoder.columns,
    )  # fmt: skip


def _check(options: ExportOptions) -> None:
    if options.to != "input" and options.to not in DIALECTS:
        raise ConfigError(f"unknown --to {options.to!r}; choose input, {', '.join(DIALECTS)}")
    if options.order not in ("rank", "input"):
        raise ConfigError(f"unknown --order {options.order!r}; choose rank or input")


def check_output(output: Path) -> str:
    """Return the container an output's name asks for; raise `DataError` if there is none."""
    if output.is_dir() or (not output.suffix and not compression_of(output)):
        check_folder(output)
        return "folder"
    container = container_of(output)
    if container is None:
        suffix = "".join(output.suffixes[-2:])
        raise DataError(f"cannot write {output}: unknown file type {suffix!r}; {KNOWN}")
    return container


@final
@dataclass(frozen=True, slots=True)
class _Plan:
    """Which input row goes to which place: arrays over the rows to write, and their datasets."""

    datasets: "tuple[Dataset, ...]"
    dataset: np.ndarray[Any, Any]  # index into datasets
    position: np.ndarray[Any, Any]
    pick: np.ndarray[Any, Any]  # row of the selection
    place: np.ndarray[Any, Any]

    @property
    def n_rows(self) -> int:
        return len(self.place)

    @classmethod
    def of(cls, store: "Store", rows: pa.Table, options: ExportOptions) -> "_Plan":
        ids = rows["id"].to_pylist()
        if not ids:
            raise DataError("the selection is empty; there is nothing to export")
        found = store.first_rows(ids, duplicates=options.keep_duplicates)
        names = found["dataset"].to_numpy()
        datasets = tuple(d for d in store.datasets() if d.dataset_id in set(names.tolist()))
        numbers = {d.dataset_id: i for i, d in enumerate(datasets)}
        dataset = np.array([numbers[name] for name in names.tolist()], dtype=np.int64)
        picks = {example_id: i for i, example_id in enumerate(ids)}
        pick = np.array([picks[i] for i in found["id"].to_pylist()], dtype=np.int64)
        position = found["position"].to_numpy()
        keys = (position, dataset) if options.order == "input" else (position, dataset, pick)
        place = np.empty(len(pick), dtype=np.int64)
        place[np.lexsort(keys)] = np.arange(len(pick))
        return cls(datasets, dataset, position, pick, place)


def _encoded(
    store: "Store", plan: _Plan, rows: pa.Table, encoder: Encoder
) -> Iterator[tuple[pa.Table, np.ndarray[Any, Any]]]:
    """Yield encoded rows, dataset by dataset in input order, with their places in the output."""
    for number, dataset in enumerate(plan.datasets):
        mine = np.flatnonzero(plan.dataset == number)
        mine = mine[np.argsort(plan.position[mine], kind="stable")]
        for start in range(0, len(mine), _FETCHED):
            part = mine[start : start + _FETCHED]
            positions: Sequence[int] = plan.position[part].tolist()
            raw = store.raw_records(dataset.dataset_id, positions)
            notes = rows.take(pa.array(plan.pick[part]))
            yield encoder.encode(dataset, positions, raw, notes), plan.place[part]


def _write(
    tables: Iterator[pa.Table], temporary: Path, output: Path, container: str, encoder: Encoder
) -> Written:
    written = Written()
    columnar = container in ("parquet", "arrow", "folder")
    if columnar and encoder.payload == "json":
        tables = (table_of(table, encoder.schema) for table in tables)
    if container == "folder":
        write_shards(tables, temporary, encoder.schema, written)
        return written
    with open_output(temporary, compression_of(output), written) as file:
        if container == "parquet":
            write_parquet(tables, file, encoder.schema)
        elif container == "arrow":
            write_arrow(tables, file, encoder.schema)
        elif container == "json":
            write_json_array(tables, file)
        elif container == "csv" and encoder.payload == "json":
            write_csv(tables, file, encoder.columns)
        else:
            file.write(encoder.header)
            write_lines(tables, file)
    return written
