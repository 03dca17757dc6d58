"""Rebuilds the DuckDB file from the folder of parts alone."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from curate.errors import StoreError
from curate.store import inventory, schema, targets
from curate.store.connection import build_file, connect, literal, transaction
from curate.store.handle import StoreHandle
from curate.store.parts import owner, read_json, sync
from curate.store.pool import examples
from curate.store.records import ScoreKey, ScoreSet, canonical_json, utc_now
from curate.store.results import revisions, selections, trials
from curate.store.scores import outdated, sets
from curate.store.upkeep.opening import open_store

_OF_DATASET: Final = ("dataset_id", "ordinal", "content_hash")
_OF_SCORE_SET: Final = ("set_id", "aliases", "key", "run", "created_at")


def rebuild(path: str | Path, *, wait_s: float = 30.0, kept: str = "old") -> dict[str, Any]:
    """Replace a store's DuckDB file with one built from its parts, and return what was found.

    The file may be missing or corrupt; it is kept beside the new one, with ``kept`` as a further ending,
    ``.old``. Content hashes do not change. Atomic: the new file replaces the old one once it is complete,
    and other processes wait until then. A dataset, score set, selection, trial or target set
    whose record cannot be read is left out, and its file is named under ``left_out``; so is a damaged
    part of a score set, whose shard the next scoring run scores again.

    Raises
    ------
    StoreError
        The folder of parts is missing, or another process holds the file.
    """
    target = Path(path).absolute()
    parts = target.with_name(target.stem + ".parts")
    if not (parts / "datasets").is_dir():
        raise StoreError(
            f"cannot rebuild {target}: the folder of parts {parts} is missing; move it back to "
            "where the store should be"
        )
    temporary = target.with_name(f".{target.name}.tmp-{owner()}")
    temporary.unlink(missing_ok=True)
    left_out: list[str] = []
    try:
        with _held(target, parts, wait_s) as forgotten:
            build_file(temporary, schema.empty_relations(), schema.first_facts(parts, utc_now()))
            found = _fill(temporary, parts, wait_s, forgotten, left_out)
            sync(temporary)
        _keep_old(target, target.with_name(f"{target.name}.{kept}"))
        target.with_name(target.name + ".wal").unlink(missing_ok=True)
        os.replace(temporary, target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    store = StoreHandle(target, wait_s)
    open_store(store, create=False)
    return {**found, "n_examples": examples.n_examples(store, None), "left_out": left_out}


@contextmanager
def _held(target: Path, parts: Path, wait_s: float) -> Iterator[str | None]:
    """Keep other processes from the present file, if it can be read: what they add would be lost.

    Yields its fact `outdated.FORGOTTEN`, and that of a store that has forgotten where nobody can know.
    """
    spill = parts / "cache" / "spill"
    forgotten: str | None = "yes"
    with ExitStack() as stack:
        if target.exists():
            try:
                with connect(target, spill, wait_s) as con:
                    forgotten = schema.meta(con, outdated.FORGOTTEN)
                stack.enter_context(connect(target, spill, wait_s))
            except duckdb.Error:  # no store
                pass
            except StoreError as error:
                if error.is_held:
                    raise
        yield forgotten


def _fill(
    path: Path, parts: Path, wait_s: float, forgotten: str | None, left_out: list[str]
) -> dict[str, Any]:
    """Write everything that the parts hold into a new file; return how much that is."""
    with connect(path, parts / "cache" / "spill", wait_s) as con, transaction(con):
        schema.set_meta(con, outdated.FORGOTTEN, forgotten)
        n_datasets = _add_datasets(con, parts, left_out)
        set_ids = _add_score_sets(con, parts, left_out)
        n_selections = _add_selections(con, parts, left_out)
        revisions.add_all(con, parts)
        for _, trial in _records((parts / "trials").glob("*.json"), ("trial_id",), left_out):
            trials.insert(con, trial)
        n_targets = _add_targets(con, parts, left_out)
        schema.refresh_views(con, parts)
        inventory.record(con, parts, _files(parts))
    unfinished = StoreHandle(path, wait_s)
    unfinished.parts = parts
    for set_id in set_ids:
        score_set = sets.find_score_set(unfinished, set_id)
        if score_set is not None:
            sets.finish(unfinished, score_set)
    return {
        "n_datasets": n_datasets, "n_score_sets": len(set_ids), "n_selections": n_selections,
        "n_targets": n_targets,
    }  # fmt: skip


def _records(
    paths: Iterable[Path], keys: Sequence[str], left_out: list[str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the records of some JSON files; those that are damaged go to ``left_out`` instead."""
    for path in sorted(paths):
        try:
            record = read_json(path)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and all(key in record for key in keys):
            yield path, record
        else:
            left_out.append(str(path))


def _keep_old(target: Path, old: Path) -> None:
    """Keep the present file, if there is one, under another name; what was kept there before goes."""
    if not target.exists():
        return
    old.unlink(missing_ok=True)
    try:
        os.link(target, old)
    except OSError:  # a file system without links
        shutil.copyfile(target, old)


def _add_datasets(con: duckdb.DuckDBPyConnection, parts: Path, left_out: list[str]) -> int:
    paths = (parts / "datasets").glob("*.json")
    manifests = [manifest for _, manifest in _records(paths, _OF_DATASET, left_out)]
    manifests.sort(key=lambda m: (m["ordinal"], m["dataset_id"]))
    last_row = "select coalesce(max(row), 0) from internal.examples"
    for manifest in manifests:
        name, ordinal = manifest["dataset_id"], manifest["ordinal"]
        con.execute(
            "insert into internal.datasets values (?, ?, ?, ?)",
            [name, ordinal, manifest["content_hash"], canonical_json(manifest)],
        )
        for number, path in _numbered(parts / "examples" / name):
            shard_id = f"{name}-{number:05d}"
            con.execute(
                f"""insert into internal.examples
                select ? + row_number() over () as row, id, ?, ?, source, group_id, 1, n_chars
                from read_parquet({literal(str(path))})""",
                [schema.scalar(con, last_row), shard_id, name],
            )
            con.execute(
                """insert into internal.shards select ?, ?, ?, ?, count(*)
                from internal.examples where shard = ?""",
                [shard_id, name, ordinal, number, shard_id],
            )
    schema.refresh_views(con, parts)
    con.execute(
        """update internal.examples e set n_rows = r.n
        from (select id, count(*) as n from rows group by id having count(*) > 1) r
        where r.id = e.id"""
    )
    con.execute(
        """insert into internal.also_in select distinct r.id, r.dataset from rows r
        join internal.examples e on e.id = r.id where e.dataset <> r.dataset order by all"""
    )
    return len(manifests)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    return [
        (int(path.stem.rpartition("-")[2]), path) for path in sorted(folder.glob("shard-*.parquet"))
    ]


def _files(parts: Path) -> list[Path]:
    """Return the files whose hashes the catalogue keeps, but for scores: those have theirs already."""
    folders = ("rows", "raw", "skipped", "examples", "selections", "revisions")
    return [path for name in folders for path in sorted((parts / name).rglob("*.parquet"))]


def _add_score_sets(con: duckdb.DuckDBPyConnection, parts: Path, left_out: list[str]) -> list[str]:
    paths = (parts / "scores").glob("*/set.json")
    records = [record for _, record in _records(paths, _OF_SCORE_SET, left_out)]
    # As in the database: the clock may have been set back since. Earlier versions wrote no ordinal.
    counted = all("ordinal" in record for record in records)
    records.sort(key=lambda r: (r["ordinal"] if counted else 0, r["created_at"], r["set_id"]))
    known = {s for (s,) in con.execute("select shard_id from internal.shards").fetchall()}
    for record in records:
        sets.register(con, record)
        folder = parts / "scores" / record["set_id"]
        key = ScoreKey.from_json(canonical_json(record["key"]))
        aliases = tuple(record["aliases"])
        score_set = ScoreSet(
            key.set_id, aliases[0], key, record["run"], folder, record["created_at"], aliases
        )
        written = sorted(p.stem for p in folder.glob("*.parquet") if p.stem in known)
        left_out += [str(part.path) for part in sets.commit_in(con, parts, score_set, written)]
    return [record["set_id"] for record in records]


def _add_selections(con: duckdb.DuckDBPyConnection, parts: Path, left_out: list[str]) -> int:
    n_selections = 0
    paths = (parts / "selections").glob("*.json")
    for path, record in _records(paths, ("selection_id", "method"), left_out):
        rows = path.with_suffix(".parquet")
        if rows.is_file():
            selections.insert(con, record, rows)
            n_selections += 1
        else:
            left_out.append(str(path))
    return n_selections


def _add_targets(con: duckdb.DuckDBPyConnection, parts: Path, left_out: list[str]) -> int:
    n_targets = 0
    for path, facts in _records(targets.facts_of(parts), ("name",), left_out):
        if targets.restore(con, path, facts):
            n_targets += 1
        else:
            left_out.append(str(path))
    return n_targets
