"""Parts that were cut for a shard before some of its examples were forgotten.

A scoring job that runs while examples are forgotten still writes what it read before. No such part
gets into the database, and none stays on disk with scores of what was forgotten.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.store.handle import StoreHandle
from curate.store.parts import METADATA_KEY, part_metadata, write_parquet, write_part
from curate.store.schema import meta

FORGOTTEN = "forgotten"  # the fact that says that this store has ever forgotten examples


def current(con: duckdb.DuckDBPyConnection, folder: Path, shard_ids: Iterable[str]) -> list[str]:
    """Take forgotten examples out of the parts of a score set; return the shards there still are.

    The part of a shard that is gone is deleted. Nothing happens in a store that has never forgotten
    an example: there an unknown id is an error of the scorer, which the commit reports.

    Parameters
    ----------
    con
        Of a transaction that writes, so that no example is forgotten meanwhile.
    folder
        ``ScoreSet.folder``.
    """
    asked = list(dict.fromkeys(shard_ids))
    if meta(con, FORGOTTEN) is None:
        return asked
    known = {s for (s,) in con.execute("select shard_id from internal.shards").fetchall()}
    for shard_id in asked:
        path = folder / f"{shard_id}.parquet"
        if shard_id in known:
            _trim(con, path)
        else:
            path.unlink(missing_ok=True)
    return [shard_id for shard_id in asked if shard_id in known]


def sweep(store: StoreHandle) -> int:
    """Take forgotten examples out of parts a killed job left uncommitted; return how many parts.

    O(1) in a store that has never forgotten an example, else it reads the ids of those parts.
    """
    with store.connect() as con:
        if meta(con, FORGOTTEN) is None:
            return 0
        left = _uncommitted(con, store.parts)
    if left:
        with store.write() as con:
            for folder, shard_ids in left.items():
                current(con, folder, shard_ids)
    return sum(len(shard_ids) for shard_ids in left.values())


def _uncommitted(con: duckdb.DuckDBPyConnection, parts: Path) -> Mapping[Path, list[str]]:
    committed = set(con.execute("select set_id, shard from internal.set_shards").fetchall())
    by_folder: dict[Path, list[str]] = {}
    for path in sorted((parts / "scores").glob("*/*.parquet")):
        is_temporary = path.name.startswith(".")
        if not is_temporary and (path.parent.name, path.stem) not in committed:
            by_folder.setdefault(path.parent, []).append(path.stem)
    return by_folder


def _trim(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        table = pq.ParquetFile(path).read()
    except (FileNotFoundError, pa.ArrowInvalid):
        return  # whoever commits it says so
    con.register("trimmed", table.select(["id"]))
    gone = con.sql(
        "select id from trimmed where id not in (select id from internal.examples)"
    ).to_arrow_table()["id"]
    con.unregister("trimmed")
    if not len(gone):
        return
    kept = table.filter(pc.invert(pc.is_in(table["id"], value_set=gone.combine_chunks())))
    if METADATA_KEY in (table.schema.metadata or {}):
        write_part(path, kept, part_metadata(table.schema))
    else:
        write_parquet(path, kept)
