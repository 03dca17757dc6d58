"""Maintains a store: what is in it, what is wrong with it, what can be deleted."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from curate.store import inventory, targets
from curate.store.connection import STORAGE_VERSION
from curate.store.handle import StoreHandle
from curate.store.parts import (
    FOREIGN_TMP_S,
    TMP_MARK,
    UNFINISHED,
    files_below,
    how_to_mend,
    owner_is_dead,
    untouched_s,
)
from curate.store.pool import examples
from curate.store.records import Finding
from curate.store.results import selection_names
from curate.store.results.selections import forgotten_by_selection
from curate.store.schema import SCHEMA_VERSION, scalar
from curate.store.scores import sets, shard_runs


def status(store: StoreHandle) -> dict[str, Any]:
    """Return counts, datasets, score sets, selections and sizes in bytes."""
    with store.held():
        return _status(store)


def _status(store: StoreHandle) -> dict[str, Any]:
    with store.connect() as con:
        n_examples, n_rows, n_groups, n_sources = con.execute(
            """select count(*), coalesce(sum(n_rows), 0), count(distinct group_id),
            count(distinct source) from internal.examples"""
        ).fetchall()[0]
        n_shards = scalar(con, "select count(*) from internal.shards")
        chosen = con.execute(
            """select s.selection_id, s.method, s.budget, s.seed, s.created_at, count(r.id)
            from selections s left join selection_rows r on r.selection_id = s.selection_id
            group by all order by s.created_at, s.selection_id"""
        ).fetchall()
        names = ("selection_id", "method", "budget", "seed", "created_at", "n_selected")
        gone = forgotten_by_selection(con)
        called = selection_names.described(con, store.parts)
        selections = [
            {
                **dict(zip(names, row, strict=True)),
                "n_forgotten": gone.get(row[0], 0),
                **called[row[0]],
            }
            for row in chosen
        ]
        counts: dict[str, int] = dict(
            con.execute("select dataset, count(*) from internal.examples group by all").fetchall()
        )
        towards = [asdict(target) for target in targets.listed(con)]
        workers = shard_runs.workers(con)
    return {
        "store": str(store.path),
        "parts": str(store.parts),
        "schema_version": SCHEMA_VERSION,
        "storage_version": STORAGE_VERSION,
        "n_examples": n_examples,
        "n_rows": int(n_rows),
        "n_groups": n_groups,
        "n_sources": n_sources,
        "n_shards": n_shards,
        "datasets": [
            {**asdict(d), "n_added": counts.get(d.dataset_id, 0)} for d in examples.datasets(store)
        ],
        "score_sets": [asdict(s) for s in sets.statuses(store)],
        "selections": selections,
        "targets": towards,
        "workers": workers,
        "bytes": {
            "database": store.path.stat().st_size,
            **{
                name: _size(store.parts / name)
                for name in ("examples", "rows", "raw", "scores", "selections", "targets", "cache")
            },
        },
    }


def check(store: StoreHandle, *, deep: bool = False) -> list[Finding]:
    """Return what is wrong with the store, or one finding that all is well.

    Files that are missing or have another size than they had; ``deep`` reads every file.
    """
    with store.connect() as con:
        orphans = _unreferenced(store, con)
        damaged = list(inventory.findings(con, store.parts, deep=deep))
    findings = [
        *_missing_parts(store),
        *damaged,
        *(
            Finding("warning", "orphan", f"{path} belongs to nothing in the store", "curate gc")
            for path in orphans
        ),
    ]
    shards = examples.shards(store, None)
    for status_ in sets.statuses(store):
        score_set = sets.find_score_set(store, status_.set_id)
        assert score_set is not None
        _, written = sets.pending_shards(store, score_set, shards)
        if written:
            findings.append(
                Finding(
                    "warning",
                    "uncommitted",
                    f"{len(written)} parts of score set {score_set.set_id} ({score_set.alias}) "
                    "are written but not in the database yet",
                    "curate commit",
                )
            )
    if not findings:
        findings.append(Finding("ok", "store", f"{store.path} and its parts are complete"))
    return findings


def gc(store: StoreHandle, *, dry_run: bool) -> dict[str, Any]:
    """Delete files nothing refers to: leftovers of killed processes, and caches."""
    with store.write() as con:  # nobody can add a dataset between the look and the deletion
        paths = [*_unreferenced(store, con), *_derived(store)]
        n_bytes = sum(_size(path) for path in paths)
        for path in paths if not dry_run else ():
            if path.is_dir():
                with suppress(FileNotFoundError):  # what a running job has removed meanwhile
                    shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return {
        "n_paths": len(paths),
        "bytes": n_bytes,
        "paths": [str(path) for path in paths],
        "dry_run": dry_run,
    }


def _missing_parts(store: StoreHandle) -> Iterator[Finding]:
    wanted: list[Path] = [shard.path for shard in examples.shards(store, None)]
    for dataset in examples.datasets(store):
        wanted.append(store.parts / "rows" / f"{dataset.dataset_id}.parquet")
        wanted.append(store.parts / "raw" / dataset.dataset_id)
    with store.connect() as con:
        committed = con.execute("select set_id, shard from internal.set_shards").fetchall()
        revised = _names(con, "select distinct selection_id from revisions")
        wanted += targets.missing(con, store.parts)
    wanted += [store.parts / "scores" / s / f"{shard}.parquet" for s, shard in committed]
    wanted += [
        store.parts / "revisions" / f"{selection_id}.parquet" for selection_id in sorted(revised)
    ]
    for path in wanted:
        if not path.exists():
            yield Finding("error", "missing", f"{path} is missing", how_to_mend(path))


def _unreferenced(store: StoreHandle, con: duckdb.DuckDBPyConnection) -> list[Path]:
    """Return what belongs to no dataset, score set or selection, and to no living process."""
    datasets = _names(con, "select dataset_id from internal.datasets")
    set_ids = _names(con, "select set_id from internal.score_sets")
    chosen = _names(con, "select selection_id from selections")
    owners = {
        "datasets": datasets,
        "rows": datasets,
        "raw": datasets,
        "skipped": datasets,
        "examples": datasets,
        "scores": set_ids,
        "selections": chosen,
        "revisions": chosen,
        targets.FOLDER: {target.name for target in targets.listed(con)},
    }
    orphans: list[Path] = []
    for folder, known in owners.items():
        for path in sorted((store.parts / folder).iterdir()):
            name = path.name if path.is_dir() else path.stem
            if not path.name.startswith(".") and name not in known:
                orphans.append(path)
    shard_ids = _names(con, "select shard_id from internal.shards")
    for path in sorted((store.parts / "scores").glob("*/*.parquet")):
        if path.parent.name in set_ids and path.stem not in shard_ids:
            orphans.append(path)
    for path in sorted((store.parts / UNFINISHED).glob("*")):
        if path.name not in shard_ids or untouched_s(path) > FOREIGN_TMP_S:
            orphans.append(path)
    temporary = sorted(_temporaries(store.parts))
    return orphans + [path for path in temporary if owner_is_dead(path)]


def _temporaries(folder: Path) -> Iterator[Path]:
    """Yield the temporary files and folders below a folder, in which jobs may be at work."""
    for root, folders, files in os.walk(folder):
        yield from (
            Path(root, name)
            for name in (*folders, *files)
            if name.startswith(".") and TMP_MARK in name[1:]
        )


def _names(con: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    return {name for (name,) in con.execute(sql).fetchall()}


def _derived(store: StoreHandle) -> list[Path]:
    return [p for p in sorted((store.parts / "cache").glob("*.npy")) if not p.name.startswith(".")]


def _size(path: Path) -> int:
    """Return the bytes of a file, or of those below a folder; what goes meanwhile has none."""
    n_bytes = 0
    for file in files_below(path) if path.is_dir() else (path,):
        with suppress(FileNotFoundError):
            n_bytes += file.stat().st_size
    return n_bytes
