"""The store of one pool: the only door to its DuckDB file and to the folder of parts beside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, final

import duckdb
import pyarrow as pa

from curate.contracts.view import TextBlock, View
from curate.store.handle import StoreHandle
from curate.store.ids import Ids
from curate.store.pool import examples, texts
from curate.store.pool.writer import PoolWriter
from curate.store.query import percentiles, projection, reading, snapshot, viewing
from curate.store.records import Dataset, Finding, ScoreKey, ScoreSet, ScoreSetStatus, Shard
from curate.store.results import marks, revisions, selection_names, selections, trials
from curate.store.scores import sets, vectors
from curate.store.sealed import DamagedPart
from curate.store.targets import TargetSet, TargetWriter, all_of, path_of, recorded, remove
from curate.store.upkeep import forget, maintenance, rebuild, upgrade


@final
class Store:
    """A pool, its scores and its selections: ``curate.duckdb`` and ``curate.parts/`` beside it.

    No connection outlives one method call (or one block of `held`), and results are copies, so
    any number of processes can use one store in turn.

    Parameters
    ----------
    path
        The DuckDB file. The folder of parts has its name with the ending ``.parts``.
    create
        Whether to create an empty store if there is none.
    wait_s
        Seconds to wait while another process holds the file.

    Raises
    ------
    StoreError
        Held by another process, read-only, corrupt, newer than this version, or half missing.
    """

    def __init__(self, path: str | Path, *, create: bool = True, wait_s: float = 30.0) -> None:
        self._handle = StoreHandle(Path(path).expanduser(), wait_s)
        upgrade.opened(self._handle, create=create)

    @property
    def path(self) -> Path:
        """The DuckDB file."""
        return self._handle.path

    @property
    def parts(self) -> Path:
        """The folder of Parquet parts beside it."""
        return self._handle.parts

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def connect(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open the file for one query; waits for other processes. For maintenance and tests."""
        return self._handle.connect()

    def write(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open the file for one transaction. No other process can open it meanwhile."""
        return self._handle.write()

    def held(self) -> AbstractContextManager[None]:
        """Keep the file open between the calls of a block, which are much cheaper then.

        Other processes wait meanwhile: for moments, not for scoring. At the end all is released.
        """
        return self._handle.held()

    def waiting(self, seconds: float) -> AbstractContextManager[None]:
        """Wait this long for other processes, instead of ``wait_s``, while the block runs."""
        return self._handle.waiting(seconds)

    def query(self, sql: str) -> pa.Table:
        """Run one read-only SQL statement over the documented relations; return a copy in Arrow.

        Nothing can be changed, and no file but those of the store can be read. Raises `ConfigError`
        for anything but a single SELECT (or DESCRIBE, SHOW, EXPLAIN); see `reading.run`.
        """
        return reading.run(self._handle, sql)

    def read(self, sql: str) -> pa.Table:
        """Return what a query of our own yields, as a copy in Arrow; `query` is for typed SQL."""
        return reading.read(self._handle, sql)

    # Pool ------------------------------------------------------------------------------------

    def datasets(self) -> list[Dataset]:
        """Return the ingested datasets in the order of ingestion."""
        return examples.datasets(self._handle)

    def skipped_positions(self, dataset: Dataset) -> list[int]:
        """Return the positions, counted from 0, of the input's rows that were left out."""
        return examples.skipped_positions(self._handle, dataset.dataset_id)

    def pool_writer(self, dataset: Dataset, raw_schema: pa.Schema) -> PoolWriter:
        """Return a writer for a new dataset; nothing is visible until its ``commit``."""
        return PoolWriter(self._handle, dataset, raw_schema)

    def shards(self, datasets: Sequence[str] | None = None) -> list[Shard]:
        """Return the shards in order: all, or those with an example of the named datasets."""
        return examples.shards(self._handle, datasets)

    def pool_hash(self) -> str:
        """Return the hash of all example ids; computed once after each change of the pool."""
        return examples.pool_hash(self._handle)

    def n_examples(self, datasets: Sequence[str] | None = None) -> int:
        """Return the number of distinct examples: of the pool, or of the named datasets."""
        return examples.n_examples(self._handle, datasets)

    def example(self, example_id_or_external: str) -> dict[str, Any]:
        """Return everything about one example, its rows, scores and selections included.

        Parameters
        ----------
        example_id_or_external
            An id, an id prefix (at least 6 characters), or an id of the input data.

        Raises
        ------
        DataError
            Unknown, or it names several examples.
        """
        return examples.example(self._handle, example_id_or_external)

    def percentiles(self, example_id: str) -> dict[str, dict[str, float]]:
        """Return the percentile, 0 to 100, of each number an example has, by alias and column."""
        return percentiles.percentiles(self._handle, example_id)

    def resolve_ids(self, names: Sequence[str]) -> list[str]:
        """Return the example id of each name, in the same order; names as in `example`."""
        return examples.resolve_ids(self._handle, names)

    def raw_records(self, dataset: str, positions: Sequence[int]) -> pa.Table:
        """Return input rows of a dataset unchanged, in the order asked for."""
        return examples.raw_records(self._handle, dataset, positions)

    def examples_by_id(self, ids: Sequence[str]) -> pa.Table:
        """Return examples with their texts by full id, in the same order; unknown ids are left out."""
        return texts.examples_by_id(self._handle, ids)

    def texts(self, ids: Ids) -> Iterator[TextBlock]:
        """Yield history and last turn of examples in blocks, with their places in ``ids``."""
        return texts.text_blocks(self._handle, ids)

    def first_examples(self, limit: int | None) -> pa.Table:
        """Return the first examples as they were read, responses to one prompt together."""
        return texts.first_examples(self._handle, limit)

    def first_rows(self, ids: Sequence[str], *, duplicates: bool = False) -> pa.Table:
        """Return ``id, dataset, position`` of the first row of each id, in the order asked for.

        ``duplicates``: every row of each id instead of the first.
        """
        return examples.first_rows(self._handle, ids, duplicates=duplicates)

    # Scores ----------------------------------------------------------------------------------

    def score_set(self, key: ScoreKey, alias: str, run: Mapping[str, Any]) -> ScoreSet:
        """Find the score set with this key, or create it.

        The ``run`` parameters given at its creation take precedence over those given later. A new
        alias of an old set is added to its names.
        """
        return sets.score_set(self._handle, key, alias, run)

    def find_score_set(self, set_id: str) -> ScoreSet | None:
        """Return a score set by id, or None."""
        return sets.find_score_set(self._handle, set_id)

    def score_sets(self) -> list[ScoreSetStatus]:
        """Return the score sets, oldest first."""
        return sets.statuses(self._handle)

    def pending_shards(
        self, score_set: ScoreSet, shards: Sequence[Shard]
    ) -> tuple[list[Shard], list[Shard]]:
        """Return the shards not committed yet: (without a part file, with one)."""
        return sets.pending_shards(self._handle, score_set, shards)

    def commit_parts(
        self,
        score_set: ScoreSet,
        shard_ids: Sequence[str],
        damaged: list[DamagedPart] | None = None,
    ) -> None:
        """Commit finished parts in one transaction; those committed before are left alone.

        What is missing, or damaged and therefore removed, goes to ``damaged``, or is a `StoreError`.
        Raises `ScoreError` for a part with other examples than its shard, or a value that is not finite.
        """
        sets.commit_parts(self._handle, score_set, shard_ids, damaged)

    def finish(self, score_set: ScoreSet) -> ScoreSetStatus:
        """Recompute the counts and the content hash of a score set from what is committed."""
        return sets.finish(self._handle, score_set)

    def vectors(self, set_id: str, column: str) -> vectors.CachedVectors:
        """Return the vectors of a score set, memory-mapped, and the ids they belong to, sorted."""
        return vectors.cached(self._handle, set_id, column)

    # Views and selections --------------------------------------------------------------------

    def view(
        self,
        *,
        bind: Mapping[str, str],
        expressions: Mapping[str, str] | None = None,
        where: str | None = None,
        datasets: Sequence[str] | None = None,
        within: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        tokens_set: str | None = None,
        max_examples: int | None = None,
        named: Mapping[str, str] | None = None,
    ) -> View:
        """Return the eligible examples as arrays, sorted by id.

        Parameters
        ----------
        bind
            Score set id by alias: its columns become ``alias.column``.
        expressions
            Further columns by alias, in the grammar of `curate.store.expressions`.
        where
            Condition in the same grammar; an undefined value does not pass.
        datasets
            Look at the examples of these datasets only; shares are then shares of them.
        within
            Id of a selection to stay inside.
        include, exclude
            Examples (ids or input ids) that pass ``where`` and ``within`` anyway, or never.
        tokens_set
            Set of the ``length`` scorer: tokens are prompt_tokens + response_tokens.
        max_examples
            Keep at most this many, in order of id.
        named
            Score set id by alias, for expressions alone; by default the newest complete set.

        Raises
        ------
        MissingColumnError
            A bound set lacks some of the examples.
        ExpressionError
            A condition or expression is wrong.
        """
        request = viewing.Request(
            bind=dict(bind),
            expressions=dict(expressions or {}),
            where=where,
            datasets=datasets,
            within=within,
            include=tuple(include),
            exclude=tuple(exclude),
            tokens_set=tokens_set,
            max_examples=max_examples,
            named=dict(named or {}),
        )
        return viewing.view(self._handle, request)

    def save_selection(self, record: Mapping[str, Any], rows: pa.Table) -> None:
        """Store a selection; one with the same id is replaced.

        Parameters
        ----------
        record
            At least ``selection_id`` and ``method``; also config, budget, seed, counts, manifest.
        rows
            ``id, rank, gain, weight, reason``.
        """
        selections.save(self._handle, record, rows)

    def selection(self, selection_id: str) -> dict[str, Any]:
        """Return a selection's record, by id, prefix of an id, name, or ``latest[:METHOD]``."""
        return selections.load(self._handle, selection_id)

    def keep_selection(self, selection_id: str, name: str | None = None) -> None:
        """Remember that somebody asked for a selection, and the name it is given, if any.

        Raises `ConfigError` for a name that another selection has.
        """
        selection_names.keep(self._handle, selection_id, name)

    def delete_selection(self, selection_id: str) -> str:
        """Delete a selection, and return its id; `ConfigError` for one that others were made from."""
        return selections.delete(self._handle, selection_id)

    def selection_rows(self, selection_id: str) -> pa.Table:
        """Return ``id, rank, gain, weight, reason`` of a selection, best first."""
        return selections.rows(self._handle, selection_id)

    def listed(self, selection_id: str, *, in_pool: bool = False) -> list[str]:
        """Return the ids of a selection in order of rank; none if there is no such selection.

        ``in_pool`` leaves out those that are no longer in the pool.
        """
        return selections.listed(self._handle, selection_id, in_pool=in_pool)

    def save_revised(self, record: Mapping[str, Any], rows: pa.Table, revised: pa.Table) -> None:
        """Store a selection as `save_selection` does, with responses that replace its examples' own.

        ``revised`` is as `revisions` returns it. Both in one transaction: neither can be read or
        collected without the other.
        """
        revisions.save(self._handle, record, rows, revised)

    def revisions(self, selection_id: str) -> pa.Table:
        """Return the revised responses of a selection, no row for one without.

        Columns: id (of the example with this response), parent_id, response; of the verdict
        confidence, consistency, reflection; parent_confidence; model, which wrote it.
        """
        return revisions.of_selection(self._handle, selection_id)

    def revisions_of(self, example_id: str) -> list[dict[str, Any]]:
        """Return the revisions of one example with their ``selection_id`` and ``method``."""
        return revisions.of_example(self._handle, example_id)

    def move_examples(
        self, ids: Sequence[str], to: str | None, among: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, int]:
        """Put examples into one of several selections and out of the others; see `marks.move`."""
        return marks.move(self._handle, ids, to, among)

    def save_trial(self, record: Mapping[str, Any], evals: Sequence[Mapping[str, Any]]) -> None:
        """Store a trial with its evaluations; one with the same id is replaced. See `trials.save`."""
        trials.save(self._handle, record, evals)

    def trial(self, trial_id: str) -> dict[str, Any]:
        """Return a trial's record; `DataError` for an unknown id."""
        return trials.load(self._handle, trial_id)

    # Target sets -----------------------------------------------------------------------------

    def targets(self) -> list[TargetSet]:
        """Return the target sets in order of name."""
        return all_of(self._handle)

    def target_set(self, name: str) -> TargetSet:
        """Return what is recorded of a target set; `ConfigError` for an unknown name."""
        return recorded(self._handle, name)

    def target(self, name: str) -> "Store":
        """Return a target set as a store of its own; `ConfigError` for an unknown name."""
        return Store(path_of(self._handle, name), create=False, wait_s=self._handle.wait_s)

    def target_writer(self, name: str) -> TargetWriter:
        """Return a writer for a new target set; nothing is visible until its ``commit``."""
        return TargetWriter(self._handle, name)

    def remove_target(self, name: str) -> None:
        """Remove a target set with its texts and scores; the pool is unchanged."""
        remove(self._handle, name)

    # Looking around --------------------------------------------------------------------------

    def state(self) -> str:
        """Return a hash that changes with the pool and with the newest complete score sets."""
        return snapshot.state(self._handle)

    def snapshot(self) -> "snapshot.Snapshot":
        """Copy the pool's facts into memory, and its scores as they are asked for."""
        return snapshot.Snapshot(self._handle)

    def projected(self, set_id: str, column: str, by: str = "pca") -> "projection.Projected":
        """Return stored vectors in two dimensions, (m, 2), and their ids; see `projection`."""
        return projection.projected(self._handle, set_id, column, by)

    # Maintenance -----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return counts, datasets, score sets, selections and sizes in bytes."""
        return maintenance.status(self._handle)

    def check(self, *, deep: bool = False) -> list[Finding]:
        """Return what is wrong with the store: missing parts, orphans, parts not committed."""
        return maintenance.check(self._handle, deep=deep)

    def gc(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Delete files nothing refers to; ``dry_run`` only counts them."""
        return maintenance.gc(self._handle, dry_run=dry_run)

    def forget(self, where: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove the examples that satisfy a condition, with their rows, texts and scores."""
        return forget.forget(self._handle, where, dry_run=dry_run)

    def rebuild(self) -> dict[str, Any]:
        """Rebuild the DuckDB file from the folder of parts; return what was found."""
        return rebuild.rebuild(self.path, wait_s=self._handle.wait_s)
