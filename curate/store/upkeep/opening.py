"""Opens a store: creates it, checks it, finishes what a killed process began."""

import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import duckdb

from curate.errors import StoreError
from curate.store import locks, schema
from curate.store.connection import connect, create_file
from curate.store.handle import StoreHandle
from curate.store.parts import (
    TMP_MARK,
    full_disk_as_error,
    owner,
    remove_stale_temporaries,
    write_json,
)
from curate.store.records import utc_now
from curate.store.scores import outdated
from curate.store.upkeep import forget

FOLDERS = (
    "datasets",
    "rows",
    "raw",
    "skipped",
    "examples",
    "scores",
    "selections",
    "revisions",
    "trials",
    "targets",
    "cache/spill",
)
_ELSEWHERE: Final = ("raw", "examples", "scores", "targets")  # a dataset, score set or store each


class OlderSchema(StoreError):  # noqa: N818 - caught by whoever can upgrade it
    """A store that an earlier version wrote, whose relations are not those of this one."""

    def __init__(self, store: StoreHandle, version: int) -> None:
        super().__init__(
            f"{store.path} was written by an earlier version of curate (its schema is {version}, this one "
            f"writes {schema.SCHEMA_VERSION}) and cannot be upgraded where it is read-only; copy the "
            "store (the file and its .parts folder) to a writable folder"
        )
        self.version = version


def open_store(store: StoreHandle, *, create: bool) -> None:
    """Make sure the store exists, is complete and is readable by this version.

    Raises `StoreError` where it is not, `OlderSchema` where `upgrade.opened` has to upgrade it first.
    """
    with store.held():
        _open(store, create=create)


def _open(store: StoreHandle, *, create: bool) -> None:
    if not store.path.exists():
        _refuse_orphaned_parts(store)
        if not create:
            raise StoreError(
                f"there is no store at {store.path}; create one with: "
                f"curate ingest DATA --store {store.path}"
            )
        make_folders(store)
        _require_locks(store)
        facts = schema.first_facts(store.parts, utc_now())
        create_file(store.path, schema.empty_relations(), facts)
    elif not store.is_read_only:
        _require_locks(store)
    # `store.connect` would look for the files of a moved store, before version and folder are checked.
    with connect(store.path, store.spill, store.wait_s) as con:
        _check_version(store, con)
        known = manifests(con)
    if known and not store.parts.is_dir():
        raise StoreError(
            f"the folder of parts {store.parts} is missing; it holds the texts, the input rows and "
            f"the vectors; move it back beside {store.path.name}"
        )
    if store.is_read_only:
        return
    make_folders(store)
    write_missing_manifests(store, known)
    remove_dead_temporaries(store)
    forget.finish_pending(store)
    outdated.sweep(store)


def manifests(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return id and manifest of every dataset that the DuckDB file knows."""
    return con.execute("select dataset_id, manifest from internal.datasets").fetchall()


def write_missing_manifests(store: StoreHandle, known: Sequence[tuple[str, str]]) -> None:
    """Write the manifests of datasets whose ingest was killed between the transaction and the manifest."""
    for dataset_id, manifest in known:
        path = store.parts / "datasets" / f"{dataset_id}.json"
        if not path.exists():
            write_json(path, json.loads(manifest))


def _require_locks(store: StoreHandle) -> None:
    """Refuse a place where nothing keeps two processes from writing the DuckDB file at once."""
    locks.require(store.path.with_name(f".{store.path.name}.locks{TMP_MARK}{owner()}"))


def make_folders(store: StoreHandle) -> None:
    """Create the folders of the parts that do not exist."""
    with full_disk_as_error(store.parts):
        try:
            for name in FOLDERS:
                (store.parts / name).mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"cannot make the folder {error.filename}: {error.strerror}; "
                "choose another place with --store"
            ) from error


def remove_dead_temporaries(store: StoreHandle) -> int:
    """Delete what dead processes were writing or staging; return how many files and folders.

    Looks at names alone: beside the DuckDB file and two levels down among the parts. What lies below
    `_ELSEWHERE` appears there whole, or goes when its score set is finished.
    """
    removed = remove_stale_temporaries(store.path.parent, store.path.name)
    folders = [store.parts, *_folders(store.parts)]
    inner = [_folders(folder) for folder in folders[1:] if folder.name not in _ELSEWHERE]
    return removed + sum(map(remove_stale_temporaries, (*folders, *chain.from_iterable(inner))))


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
    except FileNotFoundError:  # another process has removed it meanwhile
        return []


def _check_version(store: StoreHandle, con: duckdb.DuckDBPyConnection) -> None:
    try:
        facts = dict(con.execute("select key, value from internal.meta").fetchall())
    except duckdb.CatalogException as error:
        raise StoreError(
            f"{store.path} is a DuckDB file, but not a store; give another path with --store"
        ) from error
    version = int(facts["schema_version"])
    if version > schema.SCHEMA_VERSION:
        raise StoreError(
            f"{store.path} was written by a newer version of curate (its schema is {version}, this "
            f"one reads up to {schema.SCHEMA_VERSION}); update with: "
            "pip install --upgrade curate-sft"
        )
    if version < schema.SCHEMA_VERSION:
        raise OlderSchema(store, version)


def _refuse_orphaned_parts(store: StoreHandle) -> None:
    if any((store.parts / "datasets").glob("*.json")):
        raise StoreError(
            f"there is no store at {store.path}, but {store.parts} holds the parts of one; "
            f"rebuild it with: curate doctor --rebuild --store {store.path}"
        )
