"""Scores made elsewhere, stored as a score set: matched to examples, hashed, written part by part."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.data.read.score_table import read_score_table, score_columns
from curate.errors import ConfigError, DataError, did_you_mean
from curate.registry import names as registered
from curate.store.parts import part_schema, write_part
from curate.store.records import IMPORTED_INPUT, ScoreKey
from curate.store.scores.hashing import table_hash
from curate.store.scores.names import check_alias

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Dataset, Store

SCORER: Final = "imported"  # in the key of every imported score set; no scorer has this name
POSITION: Final = "position"
NOT_IMPORTED: Final = "not imported"
_KEYS: Final = ("id", "curate_id", "external_id")
_SHOWN: Final = 3


@final
@dataclass(frozen=True, slots=True)
class ImportedScores:
    """What came of an import.

    Parameters
    ----------
    set_id, alias, content_hash, imported_hash
        The score set, its name, the hash of its values, and that of what was imported.
    columns
        Type of each column by name: float, int, bool, text, floats, ints or vector.
    left_out
        Why a column is no score, by its name.
    by
        The column of ids, or ``position``.
    n_rows
        Rows that were given.
    n_scored, n_missing
        Examples of the pool with and without a row.
    n_unknown
        Rows whose id no example has.
    n_repeated
        Further rows of examples that an earlier row scores; the first counts.
    reused
        Whether all of it was stored before.
    """

    set_id: str
    alias: str
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    by: str
    n_rows: int
    n_scored: int
    n_missing: int
    n_unknown: int
    n_repeated: int
    reused: bool
    content_hash: str
    imported_hash: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def import_scores(
    store: "Store", given: Any, alias: str, *, by: str | None, columns: Sequence[str],
    dataset: str | None, progress: Progress,
) -> ImportedScores:  # fmt: skip
    """Store scores made elsewhere as a score set of its own; the same ones are stored once.

    Examples without a row have null in every column; where a column is a vector they are failures
    with the reason ``not imported``, as no vector is null.

    Parameters
    ----------
    given
        As `read_score_table` takes it.
    alias
        Name of the score set in expressions.
    by
        The column with ids of examples or of the input, or ``position``; None: id, curate_id or
        external_id, whichever there is.
    columns
        Columns to take; none: all that can be scores.
    dataset
        Name or id of the dataset whose ids or positions are meant; needed where several could be.

    Raises
    ------
    ConfigError
        The alias cannot be used, or nothing says which row is which example.
    DataError
        The table cannot be read, a column cannot be a score, or no row belongs to the pool.
    """
    check_alias(alias)
    if alias in (*registered("scorer"), SCORER):
        raise ConfigError(
            f"{alias!r} is the name of a scorer; choose another name for imported scores"
        )
    table = read_score_table(given, _KEYS if by is None else (by,))
    key = _key_column(table.column_names, by)
    dtypes, values, left_out = score_columns(table, None if key == POSITION else key, columns)
    chosen = _dataset(store, dataset, key)
    keys = None if key == POSITION else _texts(table[key])
    row_of, n_unknown, n_repeated = _match(store, table.num_rows, keys, chosen)
    imported = _hash(keys, values, "" if chosen is None else chosen.dataset_id)
    score_key = ScoreKey(
        SCORER, 1, {"columns": dtypes, "by": POSITION if keys is None else "id"},
        inputs={IMPORTED_INPUT: imported},
    )  # fmt: skip
    known = store.find_score_set(score_key.set_id)
    score_set = store.score_set(score_key, alias, {"model": None, "imported_from": _origin(given)})
    n_written = _write(store, score_set, row_of, dtypes, values)
    status = store.finish(score_set)
    report = ImportedScores(
        status.set_id, alias, dtypes, left_out, key, table.num_rows, len(row_of),
        store.n_examples() - len(row_of), n_unknown, n_repeated,
        known is not None and alias in known.aliases and not n_written,
        status.content_hash or "", imported,
    )  # fmt: skip
    for line in _notes(report):
        progress.note(line)
    return report


def _key_column(names: Sequence[str], by: str | None) -> str:
    if by is None:
        by = next((name for name in _KEYS if name in names), None)
    if by is None:
        raise ConfigError(
            f"nothing says which row is which example (the columns are: {', '.join(names)}); name the column of "
            "your ids: --by COLUMN, or match the rows of the input one to one: --by position"
        )
    if by != POSITION and by not in names:
        raise ConfigError(
            f"there is no column {by!r} to match by{did_you_mean(by, [*names, POSITION])}; the columns are: "
            f"{', '.join(names)}"
        )
    return by


def _dataset(store: "Store", name: str | None, key: str) -> "Dataset | None":
    datasets = store.datasets()
    listed = ", ".join(dataset.name for dataset in datasets) or "none"
    if name is not None:
        for dataset in datasets:
            if name in (dataset.name, dataset.dataset_id):
                return dataset
        raise ConfigError(
            f"there is no dataset {name!r} in the store"
            f"{did_you_mean(name, [dataset.name for dataset in datasets])}; there are: {listed}"
        )
    if key != POSITION:
        return None
    if len(datasets) != 1:
        raise ConfigError(
            f"the store has {counted(len(datasets), 'dataset')} ({listed}), so rows have no one position; say "
            "which: --dataset NAME"
        )
    return datasets[0]


def _texts(column: "pa.ChunkedArray") -> list[str | None]:
    """Return ids as text; whole numbers that a frame holds as floats are written as whole numbers."""
    return [
        None
        if value is None
        else str(int(value))
        if isinstance(value, float) and value.is_integer()
        else str(value)
        for value in column.to_pylist()
    ]


def _match(
    store: "Store", n_rows: int, keys: Sequence[str | None] | None, dataset: "Dataset | None"
) -> tuple[dict[str, int], int, int]:
    """Return the row of each example, how many rows are of none, and how many are of one again."""
    known = (
        _ids_by_position(store, n_rows, dataset) if keys is None else _ids_by_key(store, dataset)
    )
    row_of: dict[str, int] = {}
    n_unknown = n_repeated = 0
    for row, key in enumerate(range(n_rows) if keys is None else keys):
        ids = known.get(key, ())
        n_unknown += not ids
        new = [example_id for example_id in ids if example_id not in row_of]
        n_repeated += bool(ids) and not new
        row_of |= dict.fromkeys(new, row)
    if not row_of:
        first = ", ".join(map(repr, (keys or ())[:_SHOWN]))
        raise DataError(
            f"of {counted(n_rows, 'row')} none belongs to an example of the pool (first ids: {first}); ids are those of "
            "examples, or those that the input has in its column id; see them with: select id, external_id "
            "from rows"
        )
    return row_of, n_unknown, n_repeated


def _ids_by_key(store: "Store", dataset: "Dataset | None") -> dict[Any, tuple[str, ...]]:
    """Return the examples of each id: their own and, where that is none, those of the input."""
    rows = store.read("select id, external_id, dataset from rows order by dataset, position")
    by_key: dict[Any, dict[str, None]] = {}
    seen_in: dict[str, str] = {}
    for example_id, external, where in zip(
        *(rows[name].to_pylist() for name in ("id", "external_id", "dataset")), strict=True
    ):
        if external is None or (dataset is not None and where != dataset.dataset_id):
            continue
        before = by_key.setdefault(external, {})
        if seen_in.setdefault(external, where) != where and example_id not in before:
            raise ConfigError(
                f"the id {external!r} is in two datasets, {seen_in[external]} and {where}, with different "
                "content; say which is meant: --dataset NAME"
            )
        before[example_id] = None
    own = {example_id: (example_id,) for example_id in rows["id"].to_pylist()}
    return {**{key: tuple(ids) for key, ids in by_key.items()}, **own}


def _ids_by_position(
    store: "Store", n_rows: int, dataset: "Dataset | None"
) -> dict[Any, tuple[str, ...]]:
    assert dataset is not None
    rows = store.read(
        f"select position, id from rows where dataset = '{dataset.dataset_id}' order by position"
    )
    by_position: dict[Any, tuple[str, ...]] = {}
    for position, example_id in zip(
        rows["position"].to_pylist(), rows["id"].to_pylist(), strict=True
    ):
        by_position[position] = (*by_position.get(position, ()), example_id)
    n_input = max([*by_position, *store.skipped_positions(dataset)], default=-1) + 1
    if n_rows != n_input:
        raise ConfigError(
            f"the scores have {counted(n_rows, 'row')} and dataset {dataset.name!r} has {n_input:,}, so their positions "
            "do not match; give a row for each, or name a column of ids: --by COLUMN"
        )
    return by_position


def _hash(keys: Sequence[str | None] | None, values: Mapping[str, Any], dataset: str) -> str:
    """Return the hash of ids and values, whatever the order of rows that have ids."""
    import pyarrow as pa

    table = pa.table(dict(values))
    if keys is None:
        return table_hash(table, dataset)
    column = pa.array(keys, pa.string())
    ordered = pa.table({"key": column, "row": pa.array(range(len(keys)))}).sort_by("key")
    rows = ordered["row"].combine_chunks()
    return table_hash(
        table.take(rows).append_column(f"key of {dataset}", column.take(rows)), dataset
    )


def _write(
    store: "Store", score_set: Any, row_of: Mapping[str, int], dtypes: Mapping[str, str],
    values: Mapping[str, "pa.Array"],
) -> int:  # fmt: skip
    """Write and commit the parts that are not stored yet; return how many."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    shards = store.shards()
    without, written = store.pending_shards(score_set, shards)
    schema = part_schema(dtypes)
    vectors = [name for name, dtype in dtypes.items() if dtype == "vector"]
    for shard in without:
        ids = pq.read_table(shard.path, columns=["id"])["id"].to_pylist()
        rows = pa.array([row_of.get(example_id) for example_id in ids], pa.int64())
        columns = [values[name].take(rows).cast(schema.field(name).type) for name in dtypes]
        absent = pa.array([False] * len(ids))
        for name in vectors:
            absent = pc.or_(absent, pc.is_null(columns[list(dtypes).index(name)]))
        failure = pc.if_else(absent, NOT_IMPORTED, pa.scalar(None, pa.string()))
        table = pa.Table.from_arrays([pa.array(ids, pa.string()), *columns, failure], schema=schema)
        write_part(
            score_set.part(shard.shard_id), table, {"tokens": 0, "wall_s": 0.0, "device": ""}
        )
    store.commit_parts(score_set, [shard.shard_id for shard in (*without, *written)])
    return len(without) + len(written)


def _origin(given: Any) -> str:
    return str(given) if isinstance(given, str) or hasattr(given, "__fspath__") else "memory"


def _notes(report: ImportedScores) -> list[str]:
    """Say which columns there are, and what of the pool and of the rows was left over."""
    columns = ", ".join(
        f"{report.alias}.{name} ({dtype})" for name, dtype in report.columns.items()
    )
    notes = [f"imported {columns} for {counted(report.n_scored, 'example')}"]
    notes += [f"column {name!r} is left out: {why}" for name, why in report.left_out.items()]
    if report.n_missing:
        notes.append(f"{counted(report.n_missing, 'example')} of the pool without a row: no score")
    if report.n_unknown:
        notes.append(f"{counted(report.n_unknown, 'row')} with an id that no example has: left out")
    if report.n_repeated:
        notes.append(
            f"{counted(report.n_repeated, 'further row')} of examples that an earlier row scores: left out"
        )
    return notes
