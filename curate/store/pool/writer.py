"""Writes a new dataset to the pool: everything is staged first, then appears in one step."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import ConfigError, DataError, StoreError
from curate.store import inventory, locks, schema
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.ids import HEX_PATTERN
from curate.store.parts import (
    LOCK,
    TMP_MARK,
    WRITTEN,
    full_disk_as_error,
    owner,
    sync,
    sync_tree,
    write_json,
    write_parquet,
)
from curate.store.pool.cut import SHARD_SCHEMA, Cut, cut
from curate.store.records import ID_LENGTH, Dataset, IngestCounts, canonical_json

ROW_GROUP_ROWS: Final = 8_192
ROW_GROUP_BYTES: Final = 32 << 20
RAW_PART_BYTES: Final = 256 << 20

STAGED_SCHEMA: Final = pa.schema(
    [("position", pa.int64()), ("external_id", pa.string()), *SHARD_SCHEMA]
)
ROWS: Final = ("position", "id", "external_id", "source")
SKIPPED_SCHEMA: Final = pa.schema(
    [("position", pa.int64()), ("place", pa.string()), ("reason", pa.string())]
)
_NAME: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")


@final
class PoolWriter:
    """Takes the rows of one dataset in order; a context manager that aborts when left early.

    Memory does not grow with the number of rows: they are staged on disk beside the parts.
    """

    def __init__(self, store: StoreHandle, dataset: Dataset, raw_schema: pa.Schema) -> None:
        if not _NAME.match(dataset.dataset_id):
            raise ConfigError(
                f"dataset id {dataset.dataset_id!r} cannot name a folder; use letters, digits, "
                "dot, dash and underscore"
            )
        self._store = store
        self._dataset = dataset
        token = secrets.token_hex(4)  # another container's process may have this name and number
        self._folder = store.parts / f".staging-{dataset.dataset_id}{TMP_MARK}{owner()}-{token}"
        self._skipped: list[tuple[int, str, str]] = []
        self._n_rows = 0
        self._last_position = -1
        with full_disk_as_error(self._folder):
            self._folder.mkdir(parents=True)
            with ExitStack() as stack:
                stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
                stack.enter_context(locks.held(self._folder / LOCK))
                for name in ("raw", "examples", "spill"):
                    (self._folder / name).mkdir(parents=True)
                self._staged = _Rows(self._folder / "staged.parquet", STAGED_SCHEMA)
                stack.callback(self._staged.drop)
                self._rows = _Rows(self._folder / "rows.parquet", rows_schema())
                stack.callback(self._rows.drop)
                self._raw = _RawParts(self._folder / "raw", raw_schema)
                stack.callback(self._raw.drop)
                self._end = stack.pop_all()

    def __enter__(self) -> "PoolWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def append(self, batch: pa.RecordBatch, raw: pa.RecordBatch) -> None:
        """Add rows, in ascending order of position.

        Parameters
        ----------
        batch
            position, id, group_id, external_id, source, messages, tools, prompt, response, n_chars,
            input_at.
        raw
            The same rows as they were read, of the writer's ``raw_schema``.
        """
        if batch.num_rows != raw.num_rows:
            raise DataError(
                f"{batch.num_rows} examples for {raw.num_rows} input rows; the numbers must be equal"
            )
        if batch.num_rows == 0:
            return
        table = pa.Table.from_batches([batch]).select(STAGED_SCHEMA.names).cast(STAGED_SCHEMA)
        self._check(table)
        with full_disk_as_error(self._folder):
            self._staged.append(table)
            self._rows.append(table.select(list(ROWS)))
            self._raw.append(pa.Table.from_batches([raw]))
        self._n_rows += batch.num_rows

    def skip(self, position: int, place: str, reason: str) -> None:
        """Record an input row that was left out: its position and why."""
        self._skipped.append((position, place, reason))

    def bind(self, columns: Mapping[str, str]) -> None:
        """Replace the dataset's columns by role; some are found only after the first rows."""
        self._dataset = replace(self._dataset, columns=columns)

    def commit(self) -> IngestCounts:
        """Make the dataset part of the pool, in one step, and return the counts.

        Rows with the id of an earlier row or of the pool become further rows of that example. The
        others are cut into shards; a group is never split. If it is killed at any moment, the store has
        either all of it or nothing, and the same ingest can be rerun.
        """
        store = self._store
        with full_disk_as_error(self._folder):
            for part in (self._staged, self._rows, self._raw):
                part.close()
            skipped = [list(column) for column in zip(*self._skipped, strict=True)] or [[], [], []]
            write_parquet(
                self._folder / "skipped.parquet", pa.table(skipped, schema=SKIPPED_SCHEMA)
            )
            dataset = replace(self._dataset, n_rows=self._n_rows)
            while True:
                version = self._known_ids()
                made = cut(
                    self._folder, self._folder / "staged.parquet", self._known, dataset.dataset_id
                )
                sync_tree(self._folder)
                with store.write() as con:
                    if schema.meta(con, "pool_version") != version:
                        shutil.rmtree(self._folder / "examples")
                        continue  # another process added a dataset meanwhile: cut again
                    self._refuse_twice(con)
                    self._move_in(made)
                    ordinal = _insert(con, dataset, made)
                    schema.set_meta(con, "pool_version", str(int(version) + 1))
                    if made.n_new:
                        schema.set_meta(con, "pool_hash", None)
                    schema.refresh_views(con, store.parts)
                    inventory.record(con, store.parts, self._files())
                break
            write_json(
                store.parts / "datasets" / f"{dataset.dataset_id}.json",
                json.loads(manifest(dataset, ordinal)),
            )
        self.abort()
        n_failed = len(self._skipped)
        return IngestCounts(
            self._n_rows + n_failed, made.n_new, self._n_rows - made.n_new, n_failed
        )

    def abort(self) -> None:
        """Drop what is staged; the pool is unchanged. Does nothing after `commit`."""
        self._end.close()

    @property
    def _known(self) -> Path:
        return self._folder / "known.parquet"

    def _known_ids(self) -> str:
        """Write the pool's ids beside the staged rows; return the version of the pool."""
        with self._store.connect() as con:
            con.execute(
                f"copy (select id from internal.examples) to {literal(str(self._known))} "
                "(format parquet)"
            )
            return schema.meta(con, "pool_version") or "0"

    def _check(self, table: pa.Table) -> None:
        positions = table["position"].to_numpy()
        steps = np.diff(positions, prepend=self._last_position)
        if (steps <= 0).any():
            at = int(positions[int((steps <= 0).argmax())])
            raise DataError(
                f"position {at} does not follow the row before it; append rows in order"
            )
        for name in ("id", "group_id"):
            matches = pc.match_substring_regex(table[name], HEX_PATTERN)
            if not pc.all(pc.fill_null(matches, False)).as_py():
                raise DataError(f"column {name!r} must hold {ID_LENGTH} hex digits in every row")
        self._last_position = int(positions[-1])

    def _refuse_twice(self, con: duckdb.DuckDBPyConnection) -> None:
        dataset_id = self._dataset.dataset_id
        if schema.scalar(
            con, "select count(*) from internal.datasets where dataset_id = ?", [dataset_id]
        ):
            error = StoreError(
                f"dataset {dataset_id!r} is already in the store; another process ingested it "
                "meanwhile; run the same command again to use it"
            )
            error.is_repeated = True
            raise error

    def _files(self) -> list[Path]:
        """Return the files of the dataset under their final names."""
        name, parts = self._dataset.dataset_id, self._store.parts
        single = [parts / folder / f"{name}.parquet" for folder in ("rows", "skipped")]
        folders = [parts / "raw" / name, parts / "examples" / name]
        return [*single, *(path for folder in folders for path in sorted(folder.glob("*.parquet")))]

    def _move_in(self, made: Cut) -> None:
        """Rename the staged files to their final names; leftovers of a killed ingest are replaced."""
        name = self._dataset.dataset_id
        parts = self._store.parts
        moves = {
            "raw": parts / "raw" / name,
            "rows.parquet": parts / "rows" / f"{name}.parquet",
            "skipped.parquet": parts / "skipped" / f"{name}.parquet",
        }
        if made.n_new:
            moves["examples"] = parts / "examples" / name
        for staged, target in moves.items():
            if target.is_dir():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._folder / staged, target)
        for folder in {target.parent for target in moves.values()}:
            sync(folder)  # the files themselves were synced in the staging folder


def rows_schema() -> pa.Schema:
    """Return the schema of ``rows/<dataset>.parquet``."""
    return pa.schema([STAGED_SCHEMA.field(name) for name in ROWS])


def _insert(con: duckdb.DuckDBPyConnection, dataset: Dataset, made: Cut) -> int:
    index, seen = literal(str(made.index)), literal(str(made.seen))
    name = dataset.dataset_id
    ordinal = schema.scalar(con, "select coalesce(max(ordinal), 0) + 1 from internal.datasets")
    last_row = schema.scalar(con, "select coalesce(max(row), 0) from internal.examples")
    con.execute(
        "insert into internal.datasets values (?, ?, ?, ?)",
        [name, ordinal, dataset.content_hash, manifest(dataset, ordinal)],
    )
    con.execute(
        f"""insert into internal.examples
        select ? + row_number() over () as row, id, shard, ?, source, group_id, n_rows, n_chars
        from read_parquet({index})""",
        [last_row, name],
    )
    con.execute(
        f"""insert into internal.shards
        select shard, ?, ?, number, count(*) from read_parquet({index})
        group by all order by all""",
        [name, ordinal],
    )
    con.execute(
        f"""update internal.examples e set n_rows = e.n_rows + s.n_rows
        from read_parquet({seen}) s where s.id = e.id"""
    )
    con.execute(f"insert into internal.also_in select id, ? from read_parquet({seen})", [name])
    return ordinal


def manifest(dataset: Dataset, ordinal: int) -> str:
    """Return the JSON of a dataset's manifest; ``ordinal`` is its place in the pool."""
    return canonical_json({**json.loads(dataset.to_json()), "ordinal": ordinal})


@final
class _Rows:
    """A Parquet file written in row groups of about equal size from batches of any size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(path, schema, **WRITTEN)
        self._waiting: list[pa.Table] = []
        self._n_rows = 0
        self._n_bytes = 0
        self.n_bytes_written = 0

    def append(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._n_rows += table.num_rows
        self._n_bytes += table.nbytes
        if self._n_rows >= ROW_GROUP_ROWS or self._n_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None

    def drop(self) -> None:
        """Close the file and drop buffered rows; works even if the disk is full."""
        writer, self._writer, self._waiting = self._writer, None, []
        if writer is not None:
            try:
                writer.close()
            except (OSError, pa.ArrowInvalid):  # its end cannot be written, and nobody needs it
                return

    def _flush(self) -> None:
        assert self._writer is not None
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.n_bytes_written += self._n_bytes
        self._waiting, self._n_rows, self._n_bytes = [], 0, 0


@final
class _RawParts:
    """The input rows in files ``part-00000.parquet``, a new one every `RAW_PART_BYTES`."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._number = 0
        self._part = self._open()

    def append(self, table: pa.Table) -> None:
        if self._part.n_bytes_written >= RAW_PART_BYTES:
            self._part.close()
            self._number += 1
            self._part = self._open()
        self._part.append(table)

    def close(self) -> None:
        self._part.close()

    def drop(self) -> None:
        self._part.drop()

    def _open(self) -> _Rows:
        return _Rows(self._folder / f"part-{self._number:05d}.parquet", self._schema)
