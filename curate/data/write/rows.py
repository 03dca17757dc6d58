"""Write a selection to a file: the input's rows unchanged, or another dialect or container."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np
import pyarrow as pa

from curate.data.read.sources import KNOWN, compression_of, container_of
from curate.data.revisions import Revisions, revisions_of
from curate.data.write.encoders import NOTES, Encoder, encoder_for
from curate.data.write.licences import licences_of
from curate.data.write.outputs import (
    SPLITS,
    RowStream,
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
from curate.data.write.revised_rows import revised_rows
from curate.data.write.row_formats import ROW_FORMATS, RowFormat, Tally
from curate.data.write.spool import Spool
from curate.data.write.texts import FormattedTexts
from curate.data.write.whole_texts import WholeTexts
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
        ``input`` keeps each row unchanged; the others are dialects of canonical messages.
    order
        ``rank``: best first. ``input``: by dataset, then by position.
    annotate
        Append ``curate_id, curate_rank, curate_gain, curate_weight, curate_reason``.
    keep_duplicates
        Write every row of an example instead of its first.
    lossy
        Write what the format can hold of a row and report what was left out, instead of failing.
    shard_rows
        Maximum number of rows per file of a folder; None for files of 256 MiB.
    in_splits
        Folders ``train`` and, where there is any, ``validation`` below the output.
    validation
        Ids of the examples of the validation split.
    layout
        A format that is not a dialect, instead of ``to``.
    weights
        Append ``curate_weight`` even without ``annotate``.
    """

    to: Target = "input"
    order: Literal["rank", "input"] = "rank"
    annotate: bool = False
    keep_duplicates: bool = False
    lossy: bool = False
    shard_rows: int | None = None
    in_splits: bool = False
    validation: frozenset[str] = frozenset()
    layout: RowFormat | None = None
    weights: bool = False

    @property
    def row_format(self) -> RowFormat | None:
        """The format of the rows, None for unchanged rows."""
        return self.layout or ROW_FORMATS.get(self.to)

    @property
    def notes(self) -> Sequence[str]:
        """The columns to append."""
        return NOTES.names if self.annotate else ["curate_weight"] if self.weights else []


@final
@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Parameters
    ----------
    n_bytes, sha256
        Size, and hash over all files in order.
    splits
        Rows of each split; a single one called train if there are no split folders.
    lost, remarks
        What was left out because the format cannot hold it, and remarks on what it does hold; see
        `Tally.rows`.
    licences
        Rows of a folder by the licence they name, "" for none.
    """

    path: Path
    n_rows: int
    n_bytes: int
    sha256: str
    container: str
    columns: tuple[str, ...]
    splits: Mapping[str, int] = field(default_factory=dict)
    lost: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[Mapping[str, Any]] = ()
    licences: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class _Counts:
    """What is counted while rows are written."""

    lost: Tally = field(default_factory=Tally)
    remarks: Tally = field(default_factory=Tally)
    licences: Counter[str] = field(default_factory=Counter)


def export_selection(
    store: "Store",
    selection_id: str,
    output: Path,
    options: ExportOptions | None = None,
    complete: Callable[[Path, ExportReport], None] | None = None,
) -> ExportReport:
    """Write the rows of a selection to ``output``, whole or not at all; revised responses replace theirs.

    The extension chooses the container: .jsonl, .json, .csv, .parquet or .arrow, each also with
    .gz or .zst; without an extension, or for a folder, Parquet shards. Rows are read once in input
    order and put into output order on disk, so memory does not grow with the selection.
    ``complete`` is called with the place of a folder that is not yet visible, to add files to it.

    Raises
    ------
    DataError
        Rows of datasets with different columns (use ``to="messages"``), rows the format or the
        container cannot hold, an unknown extension, a path that cannot be written.
    StoreError
        The disk is full.
    """
    options = options or ExportOptions()
    container = check_output(output)
    _check(options, container)
    rows = store.selection_rows(selection_id)
    plan = _Plan.of(store, rows, options)
    revisions = revisions_of(store, selection_id)
    tally = _Counts()
    texts = None
    if options.row_format is not None:
        texts = FormattedTexts(
            options.row_format, lossy=options.lossy, lost=tally.lost, remarks=tally.remarks,
            revisions=revisions,
        )  # fmt: skip
    whole = WholeTexts(container, lossy=options.lossy, lost=tally.lost)
    encoder = encoder_for(plan.datasets, texts, container, options.notes, whole)
    with whole_or_nothing(output) as temporary:
        spool = Spool(temporary.parent, plan.n_rows)
        try:
            in_rows = revisions if texts is None else {}
            for table, places in _encoded(store, plan, rows, encoder, tally, container, in_rows):
                spool.add(table, places)
            encoder.finish(plan.n_rows)
            written = _write(spool.tables(), temporary, output, container, encoder, plan, options)
        finally:
            spool.close()
        report = ExportReport(
            output, plan.n_rows, written.n_bytes, written.digest.hexdigest(), container,
            encoder.columns, plan.splits, tally.lost.rows(), tally.remarks.rows(),
            dict(tally.licences),
        )  # fmt: skip
        if complete is not None:
            complete(temporary, report)
    return report


def _check(options: ExportOptions, container: str) -> None:
    if options.to != "input" and options.row_format is None:
        raise ConfigError(f"unknown --to {options.to!r}; choose input, {', '.join(ROW_FORMATS)}")
    if options.order not in ("rank", "input"):
        raise ConfigError(f"unknown --order {options.order!r}; choose rank or input")
    if options.shard_rows is not None and options.shard_rows < 1:
        raise ConfigError(f"--shard-rows must be at least 1, got {options.shard_rows}")
    if container != "folder" and (options.in_splits or options.shard_rows is not None):
        what = "splits" if options.in_splits else "shards"
        raise ConfigError(
            f"only a folder has {what}, but the output is a {container} file; give -o a name "
            "without an extension"
        )


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
    """Where each input row goes in the output: arrays over the rows to write, and their datasets."""

    datasets: "tuple[Dataset, ...]"
    dataset: np.ndarray[Any, Any]  # index into datasets
    position: np.ndarray[Any, Any]
    pick: np.ndarray[Any, Any]  # row of the selection
    split: np.ndarray[Any, Any]  # index into SPLITS, and the first key of the places
    place: np.ndarray[Any, Any]

    @property
    def n_rows(self) -> int:
        return len(self.place)

    @property
    def splits(self) -> dict[str, int]:
        counts = np.bincount(self.split, minlength=len(SPLITS)).tolist()
        return {name: n for name, n in zip(SPLITS, counts, strict=True) if n or name == SPLITS[0]}

    @classmethod
    def of(cls, store: "Store", rows: pa.Table, options: ExportOptions) -> "_Plan":
        ids = rows["id"].to_pylist()
        if not ids:
            raise DataError("the selection is empty; there is nothing to export")
        stored = store.first_rows(ids, duplicates=options.keep_duplicates)
        names = stored["dataset"].to_numpy()
        datasets = tuple(d for d in store.datasets() if d.dataset_id in set(names.tolist()))
        numbers = {d.dataset_id: i for i, d in enumerate(datasets)}
        dataset = np.array([numbers[name] for name in names.tolist()], dtype=np.int64)
        picks = {example_id: i for i, example_id in enumerate(ids)}
        pick = np.array([picks[i] for i in stored["id"].to_pylist()], dtype=np.int64)
        position = stored["position"].to_numpy()
        split = np.array([i in options.validation for i in ids], dtype=np.int64)[pick]
        by_rank = () if options.order == "input" else (pick,)
        place = np.empty(len(pick), dtype=np.int64)
        place[np.lexsort((position, dataset, *by_rank, split))] = np.arange(len(pick))
        return cls(datasets, dataset, position, pick, split, place)


def _encoded(
    store: "Store",
    plan: _Plan,
    rows: pa.Table,
    encoder: Encoder,
    tally: _Counts,
    container: str,
    revisions: Revisions,
) -> Iterator[tuple[pa.Table, np.ndarray[Any, Any]]]:
    """Yield encoded rows, dataset by dataset in input order, with their places in the output."""
    for number, dataset in enumerate(plan.datasets):
        mine = np.flatnonzero(plan.dataset == number)
        mine = mine[np.argsort(plan.position[mine], kind="stable")]
        for start in range(0, len(mine), _FETCHED):
            part = mine[start : start + _FETCHED]
            positions: Sequence[int] = plan.position[part].tolist()
            raw = store.raw_records(dataset.dataset_id, positions)
            if container == "folder":
                tally.licences.update(licences_of(dataset, raw))
            notes = rows.take(pa.array(plan.pick[part]))
            raw = revised_rows(dataset, positions, raw, notes["id"].to_pylist(), revisions)
            yield encoder.encode(dataset, positions, raw, notes), plan.place[part]


def _write(
    tables: Iterator[pa.Table],
    temporary: Path,
    output: Path,
    container: str,
    encoder: Encoder,
    plan: _Plan,
    options: ExportOptions,
) -> Written:
    written = Written()
    columnar = container in ("parquet", "arrow", "folder")
    if columnar and encoder.payload == "json":
        tables = (table_of(table, encoder.schema) for table in tables)
    if container == "folder":
        rows = RowStream(tables)
        for split, n_rows in plan.splits.items():
            folder = temporary / split if options.in_splits else temporary
            part = rows.take(n_rows)
            write_shards(part, folder, encoder.schema, written, options.shard_rows)
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
