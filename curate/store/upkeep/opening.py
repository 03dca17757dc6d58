"""Opens a store: creates it, checks it, finishes what a killed process began."""

import json
import shutil

import duckdb

from curate.errors import StoreError
from curate.store import schema
from curate.store.connection import connect, create_file
from curate.store.handle import StoreHandle
from curate.store.parts import full_disk_as_error, owner_is_dead, write_json
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


def open_store(store: StoreHandle, *, create: bool) -> None:
    """Make sure the store exists, is complete and is readable by this version."""
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
        facts = schema.first_facts(store.parts, utc_now())
        create_file(store.path, schema.empty_relations(), facts)
    # `store.connect` would look for the files of a moved store, before version and folder are checked.
    with connect(store.path, store.spill, store.wait_s) as con:
        _check_version(store, con)
        known = con.execute("select dataset_id, manifest from internal.datasets").fetchall()
    if known and not store.parts.is_dir():
        raise StoreError(
            f"the folder of parts {store.parts} is missing; it holds the texts, the input rows and "
            f"the vectors; move it back beside {store.path.name}"
        )
    if store.is_read_only:
        return
    make_folders(store)
    for dataset_id, manifest in known:
        path = store.parts / "datasets" / f"{dataset_id}.json"
        if not path.exists():  # killed between the transaction and the manifest
            write_json(path, json.loads(manifest))
    remove_dead_staging(store)
    forget.finish_pending(store)
    outdated.sweep(store)


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


def remove_dead_staging(store: StoreHandle) -> int:
    """Delete staging folders of dead processes; return how many."""
    removed = 0
    for folder in store.parts.glob(".staging-*.tmp-*"):
        if owner_is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


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


def _refuse_orphaned_parts(store: StoreHandle) -> None:
    if any((store.parts / "datasets").glob("*.json")):
        raise StoreError(
            f"there is no store at {store.path}, but {store.parts} holds the parts of one; "
            f"rebuild it with: curate doctor --rebuild --store {store.path}"
        )
