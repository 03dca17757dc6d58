"""Target sets: what to select towards, each a small pool in a store of its own among the parts.

No relation of the pool reads the folder of a target, so nothing of it can be selected, counted or
exported. It is scored like the pool, into score sets with the same keys.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, final

import pyarrow as pa

from curate.errors import ConfigError, StoreError, did_you_mean
from curate.store import locks
from curate.store.parts import (
    LOCK,
    TMP_MARK,
    full_disk_as_error,
    owner,
    read_json,
    sync,
    sync_tree,
    write_json,
)

if TYPE_CHECKING:
    import duckdb

    from curate.store.handle import StoreHandle

FOLDER: Final = "targets"
FILE: Final = "target.duckdb"
_FACTS: Final = "target.json"
_LONGEST: Final = 100  # characters of a name, which is that of a folder too
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
TABLE: Final = """create table if not exists targets (
    name varchar primary key, n_rows bigint, n_examples bigint, n_in_pool bigint, n_pool bigint,
    content_hash varchar, data varchar, created_at varchar)"""


@final
@dataclass(frozen=True, slots=True)
class TargetSet:
    """One target set: what it holds, and how much of it the pool held when it was added.

    Parameters
    ----------
    name
        What ``--target`` calls it.
    n_rows, n_examples
        Rows read, and distinct examples among them.
    n_in_pool, n_pool
        Examples of it that were in the pool too, word for word, and the size of that pool.
    content_hash
        Hash of its example ids, as of a pool.
    data
        What it was read from, as typed.
    """

    name: str
    n_rows: int
    n_examples: int
    n_in_pool: int
    n_pool: int
    content_hash: str
    data: str
    created_at: str


_COLUMNS: Final = tuple(column.name for column in fields(TargetSet))


def listed(con: "duckdb.DuckDBPyConnection") -> list[TargetSet]:
    """Return the target sets in order of name; a store older than target sets has none."""
    if not _has_table(con):
        return []
    rows = con.execute(f"select {', '.join(_COLUMNS)} from targets order by name").fetchall()
    return [TargetSet(*row) for row in rows]


def all_of(store: "StoreHandle") -> list[TargetSet]:
    """Return the target sets of a store in order of name."""
    with store.connect() as con:
        return listed(con)


def recorded(store: "StoreHandle", name: str) -> TargetSet:
    """Return what a store records of a target set; errors as of `find`."""
    with store.connect() as con:
        return find(con, name)


def path_of(store: "StoreHandle", name: str) -> Path:
    """Return the DuckDB file of a target set.

    Raises
    ------
    ConfigError
        There is no target set of this name.
    StoreError
        Its file is missing, or its name is none that `TargetWriter` takes.
    """
    path = store.parts / FOLDER / recorded(store, name).name / FILE
    if not path.exists():
        raise StoreError(
            f"target set {name!r} is in the store, but its file {path} is missing; restore it from a "
            f"backup of the store, or remove it and add it again: curate target remove {name}"
        )
    return path


def find(con: "duckdb.DuckDBPyConnection", name: str) -> TargetSet:
    """Return what is recorded of a target set, whose folder may be missing; errors as of `path_of`."""
    known = {target.name: target for target in listed(con)}
    if name not in known:
        have = f"there are: {', '.join(known)}" if known else "this store has none"
        raise ConfigError(
            f"no target set {name!r}{did_you_mean(name, known)}; {have}; "
            f"add one with: curate target add {name} DATA"
        )
    if not _NAME.fullmatch(name):  # a store from elsewhere: the name would lead out of the folder
        raise StoreError(
            f"this store lists a target set {name!r}, which curate cannot have added: it names no "
            "folder; drop it with: curate doctor --rebuild"
        )
    return known[name]


def remove(store: "StoreHandle", name: str) -> None:
    """Remove a target set with its texts and scores; errors as of `find`.

    Its folder leaves its place in the transaction, so one that is added meanwhile is not touched.
    """
    moved: Path | None = None
    folder = store.parts / FOLDER / name
    try:
        with store.write() as con:
            find(con, name)
            con.execute("delete from targets where name = ?", [name])
            if folder.exists():
                moved = _staging(store, name)
                os.replace(folder, moved)
                sync(folder.parent)
    except BaseException:
        if moved is not None and moved.exists():  # the database still has it
            os.replace(moved, folder)
        raise
    if moved is not None:
        shutil.rmtree(moved, ignore_errors=True)


def facts_of(parts: Path) -> list[Path]:
    """Return the files that record the target sets among the parts."""
    return sorted((parts / FOLDER).glob(f"*/{_FACTS}"))


def content_hash_in(folder: Path) -> str | None:
    """Return the content hash of the target set in a folder, by its file alone; None if it is gone."""
    try:
        return str(read_json(folder / _FACTS)["content_hash"])
    except FileNotFoundError:
        return None


def restore(con: "duckdb.DuckDBPyConnection", path: Path, facts: Mapping[str, Any]) -> bool:
    """Write one target set into a database; False if it was not recorded so.

    Parameters
    ----------
    path
        Its file, of `facts_of`: the folder decides its name.
    facts
        What the file holds; fields of later versions are left out.
    """
    known: dict[str, Any] = {column.name: facts.get(column.name) for column in fields(TargetSet)}
    if any(type(known[column.name]) is not column.type for column in fields(TargetSet)):
        return False
    target = TargetSet(**known)
    if not _NAME.fullmatch(target.name) or target.name != path.parent.name:
        return False
    _insert(con, target)
    return True


def missing(con: "duckdb.DuckDBPyConnection", parts: Path) -> Iterator[Path]:
    """Yield the files of target sets that are not there."""
    for target in listed(con):
        path = parts / FOLDER / target.name / FILE
        if not path.exists():
            yield path


@final
class TargetWriter:
    """A new target set: its store is filled at ``path``, and `commit` gives it its name.

    A context manager that drops what is staged when it is left without a commit.
    """

    def __init__(self, store: "StoreHandle", name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"target set {name!r} cannot name a folder; use letters, digits, dot, dash and "
                "underscore"
            )
        if len(name) > _LONGEST:
            raise ConfigError(
                f"the name of a target set has {len(name):,} characters, and at most {_LONGEST} are "
                "possible; give a shorter one"
            )
        with store.connect() as con:
            _check_case(name, listed(con))
        self._store = store
        self._name = name
        self._folder = _staging(store, name)
        with full_disk_as_error(self._folder):
            self._folder.mkdir(parents=True)
            self._lock = ExitStack()
            self._lock.enter_context(locks.held(self._folder / LOCK))

    @property
    def path(self) -> Path:
        """The DuckDB file to fill."""
        return self._folder / FILE

    def __enter__(self) -> "TargetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def commit(self, ids: Sequence[str], facts: Mapping[str, Any]) -> TargetSet:
        """Move the staged store to its place and record it, in one transaction with its overlap.

        Parameters
        ----------
        ids
            Its example ids.
        facts
            n_rows, content_hash, data, created_at.
        """
        target = self._store.parts / FOLDER / self._name
        with self._store.write() as con, full_disk_as_error(target):
            con.execute(TABLE)
            known = listed(con)
            _check_case(self._name, known)
            if self._name in {target_set.name for target_set in known}:
                raise StoreError(
                    f"target set {self._name!r} is already in the store; another process added it "
                    "meanwhile; run the same command again"
                )
            con.register("added", pa.table({"id": pa.array(ids, pa.string())}))
            [(n_in_pool, n_pool)] = con.execute(
                "select (select count(*) from internal.examples where id in (select id from added)), "
                "(select count(*) from internal.examples)"
            ).fetchall()
            con.unregister("added")
            made = TargetSet(
                name=self._name, n_examples=len(ids), n_in_pool=n_in_pool, n_pool=n_pool, **facts
            )
            write_json(self._folder / _FACTS, asdict(made))
            sync_tree(self._folder)
            if target.exists():  # left by a process that was killed before it recorded it
                shutil.rmtree(target)
            target.parent.mkdir(exist_ok=True)
            os.replace(self._folder, target)
            sync(target.parent)
            _insert(con, made)
        (target / LOCK).unlink(missing_ok=True)
        return made


def _staging(store: "StoreHandle", name: str) -> Path:
    """Return a folder of this process alone; opening the store sweeps it once the process died."""
    token = secrets.token_hex(4)
    return store.parts / f".staging-target-{name}{TMP_MARK}{owner()}-{token}"


def _check_case(name: str, known: Sequence[TargetSet]) -> None:
    """Refuse a name whose folder a file system that ignores case takes for that of another."""
    for other in known:
        if other.name != name and other.name.casefold() == name.casefold():
            raise ConfigError(
                f"target set {name!r} differs only in case from {other.name!r}, which is in the "
                "store, and some file systems take their folders for one; take another name, or "
                f"remove that one first: curate target remove {other.name}"
            )


def _insert(con: "duckdb.DuckDBPyConnection", target: TargetSet) -> None:
    con.execute(TABLE)
    con.execute("delete from targets where name = ?", [target.name])
    con.execute(
        f"insert into targets ({', '.join(_COLUMNS)}) values (?, ?, ?, ?, ?, ?, ?, ?)",
        list(asdict(target).values()),
    )


def _has_table(con: "duckdb.DuckDBPyConnection") -> bool:
    rows = con.execute(
        "select 1 from information_schema.tables where table_catalog = current_database() "
        "and table_schema = 'main' and table_name = 'targets'"
    ).fetchall()
    return bool(rows)
