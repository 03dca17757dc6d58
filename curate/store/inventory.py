"""Size and hash of every finished file of the parts, kept where the catalogue is, to find damage."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import duckdb

from curate.models.files import bytes_hash, file_hash
from curate.store.parts import files_below, how_to_mend
from curate.store.records import Finding
from curate.store.sealed import PartDamageError, open_sealed

_TABLE = """create table if not exists internal.files (
    path varchar primary key, n_bytes bigint, hash varchar)"""


@final
@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is kept of a finished file: its path below the parts, its size, its BLAKE2b hash in hex."""

    name: str
    n_bytes: int
    hash: str


def record(con: duckdb.DuckDBPyConnection, parts: Path, paths: Iterable[Path]) -> None:
    """Write down the size and hash of finished files; reads each once.

    ``con`` is of the transaction that makes the files part of the store.
    """
    record_facts(
        con,
        [FileFacts(_name(parts, path), path.stat().st_size, file_hash(path)) for path in paths],
    )


def facts_of(parts: Path, path: Path, data: bytes) -> FileFacts:
    """Return what is kept of a finished file whose bytes were read already."""
    return FileFacts(_name(parts, path), len(data), bytes_hash(data))


def record_facts(con: duckdb.DuckDBPyConnection, facts: Sequence[FileFacts]) -> None:
    """Write down what is known of finished files, as `record` does."""
    con.execute(_TABLE)
    if not facts:
        return
    con.execute(
        "insert or replace into internal.files select unnest(?), unnest(?), unnest(?)",
        [[one.name for one in facts], [one.n_bytes for one in facts], [one.hash for one in facts]],
    )


def record_again(con: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Write down anew all files that are known, and drop those that are gone: many were rewritten."""
    known = [parts / name for name in _known(con)]
    con.execute(_TABLE)
    con.execute("delete from internal.files")
    record(con, parts, [path for path in known if path.exists()])


def findings(con: duckdb.DuckDBPyConnection, parts: Path, *, deep: bool) -> Iterator[Finding]:
    """Yield what is wrong with the files that are known; ``deep`` reads all of them.

    Without it only sizes are compared, O(files). A file from before hashes were kept has none:
    ``deep`` reads it and verifies the checksums of its pages, where it has them.
    """
    known = _known(con)
    for name, (n_bytes, recorded) in known.items():
        path = parts / name
        if not path.exists():
            continue  # the check of missing files says so
        if path.stat().st_size != n_bytes:
            yield _damaged(path, f"has {path.stat().st_size:,} bytes and had {n_bytes:,}")
        elif deep and file_hash(path) != recorded:
            yield _damaged(path, "does not hold what was written")
    for path in sorted(files_below(parts, ".parquet")) if deep else ():
        below = path.relative_to(parts)
        if below.as_posix() not in known and not _is_in_work(below):
            try:
                open_sealed(path)
            except PartDamageError as damage:
                action = "the same curate score command, which scores its shard again"
                how = how_to_mend(path) if below.parts[0] != "scores" else action
                yield Finding("error", "damaged", f"{path} cannot be read ({damage.why})", how)


def _is_in_work(below: Path) -> bool:
    """Whether a path below the parts is of no finished file: in a cache, a job, or what is staged."""
    top = below.parts[0]
    return top in ("cache", "jobs", "runs") or top.startswith(".")


def _name(parts: Path, path: Path) -> str:
    return path.relative_to(parts).as_posix()


def _known(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, str]]:
    present = con.execute(
        "select 1 from information_schema.tables "
        "where table_catalog = current_database() and table_schema = 'internal' "
        "and table_name = 'files'"
    ).fetchall()
    if not present:
        return {}
    rows = con.execute("select path, n_bytes, hash from internal.files order by path").fetchall()
    return {path: (n_bytes, recorded) for path, n_bytes, recorded in rows}


def _damaged(path: Path, how: str) -> Finding:
    return Finding("error", "damaged", f"{path} {how}", how_to_mend(path))
